package main

import (
	"net/url"
	"os"
	"strings"

	"github.com/agentos-kernel/agentos/libs/bus"
	"github.com/agentos-kernel/agentos/libs/fault"
)

// The environment variables of the database.
const (
	envDatabase         = "DATABASE_URL"
	envDatabasePassword = "DATABASE_PASSWORD_FILE"
)

// servers are the database and the Kafka of the environment; both may be missing.
func servers() (database string, kafka bus.Config, err error) {
	if kafka, err = bus.FromEnv(os.Getenv); err != nil {
		return "", bus.Config{}, err
	}
	database, err = databaseURL()
	return database, kafka, err
}

// databaseURL is DATABASE_URL with the password of the file that DATABASE_PASSWORD_FILE names, if it does; empty
// when no database is given.
func databaseURL() (string, error) {
	const op = "cli.database"
	at, file := os.Getenv(envDatabase), os.Getenv(envDatabasePassword)
	if at == "" || file == "" {
		return at, nil
	}
	u, err := url.Parse(at)
	if err != nil || u.Host == "" {
		return "", fault.New(fault.Invalid, op, envDatabase+" is not a URL").WithFix("write it like postgres://user@host:5432/database")
	}
	if _, has := u.User.Password(); has {
		return at, nil // what is written out goes first, as a password in the URL does with every client of Postgres
	}
	raw, err := os.ReadFile(file) //nolint:gosec // the operator names a file of theirs
	if err != nil {
		return "", fault.Wrap(fault.Invalid, op, "the file that "+envDatabasePassword+" names cannot be read", err).
			WithFix("name a file that holds the password of the user in " + envDatabase)
	}
	u.User = url.UserPassword(u.User.Username(), strings.TrimRight(string(raw), "\r\n"))
	return u.String(), nil
}
