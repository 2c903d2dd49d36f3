// Package report writes the script of answers for the example "report": a conversation in which an agent
// reads sales figures, computes with the calculator and writes a report.
//
// No model ever said these words: they are written by hand and the cassette says so. The figures are
// computed from the files in data/, and the tool messages are what the kernel's tools give for these
// files, byte for byte, so that the conversation replays with the real tools.
package report

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/big"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/agentos-kernel/agentos/events/chat"
	"github.com/agentos-kernel/agentos/libs/cassette"
)

//go:generate go run ./generate

// The files of the example, in its folder.
const (
	DataFolder   = "data"
	AgentFile    = "agent.yaml"
	CassetteFile = "answers.jsonl"
	// OutputFile is what the agent writes into its workspace.
	OutputFile = "report.md"
)

// regions are the files with sales, in the order they are read.
func regions() []string { return []string{"north", "south", "west"} }

// region is what the script says about one region.
type region struct {
	name    string
	formula string // of the revenue
	revenue *big.Rat
	target  *big.Rat
	percent *big.Rat // revenue of target, one decimal
}

// Script is the cassette for the data and the agent file in folder, the example's own.
func Script(folder fs.FS) (*cassette.Cassette, error) {
	var agent struct {
		System string `yaml:"system"`
		Task   string `yaml:"task"`
	}
	raw, err := fs.ReadFile(folder, AgentFile)
	if err != nil {
		return nil, fmt.Errorf("read the agent file: %w", err)
	}
	if err := yaml.Unmarshal(raw, &agent); err != nil {
		return nil, fmt.Errorf("read the agent file: %w", err)
	}
	data, err := fs.Sub(folder, DataFolder)
	if err != nil {
		return nil, fmt.Errorf("open the data: %w", err)
	}
	s := &script{messages: []chat.Message{chat.Text(chat.System, agent.System), chat.Text(chat.User, agent.Task)}}
	if err := s.play(data); err != nil {
		return nil, err
	}
	return &cassette.Cassette{
		Header: cassette.Header{
			Cassette: cassette.Version, Name: "report", Source: "written by hand, not from a model",
			Origin: cassette.OriginScript, Tools: []chat.ToolSpec{},
		},
		Conversations: []cassette.Conversation{{ID: "report", Messages: s.messages}},
	}, nil
}

// script collects the messages.
type script struct {
	messages []chat.Message
	calls    int
}

// use is one tool call with the result that the tool gives.
type use struct {
	tool   string
	args   map[string]string
	result string
}

// say adds a reply that calls tools, and their results.
func (s *script) say(text string, uses ...use) error {
	reply := chat.Text(chat.Assistant, text)
	if text == "" {
		reply.Content = nil
	}
	var results []chat.Message
	for _, u := range uses {
		args, err := json.Marshal(u.args)
		if err != nil {
			return fmt.Errorf("encode arguments: %w", err)
		}
		s.calls++
		call := chat.ToolCall{
			ID: "call_" + strconv.Itoa(s.calls), Type: "function",
			Function: chat.FunctionCall{Name: u.tool, Arguments: string(args)},
		}
		reply.ToolCalls = append(reply.ToolCalls, call)
		results = append(results, chat.Result(call, u.result))
	}
	s.messages = append(append(s.messages, reply), results...)
	return nil
}

// play is the conversation.
func (s *script) play(data fs.FS) error {
	listing, err := list(data)
	if err != nil {
		return err
	}
	if err := s.say("I will look at what there is.", use{"list_dir", map[string]string{"path": "."}, listing}); err != nil {
		return err
	}
	var reads []use
	for _, name := range append(regions(), "targets") {
		file := name + ".csv"
		if name == "targets" {
			file = "targets.txt"
		}
		text, err := fs.ReadFile(data, file)
		if err != nil {
			return fmt.Errorf("read the data: %w", err)
		}
		reads = append(reads, use{"read_file", map[string]string{"path": file}, string(text)})
	}
	if err := s.say("", reads...); err != nil {
		return err
	}
	found, err := analyse(data)
	if err != nil {
		return err
	}
	total, target := new(big.Rat), new(big.Rat)
	var revenues, shares []use
	var terms []string
	for _, r := range found {
		total.Add(total, r.revenue)
		target.Add(target, r.target)
		terms = append(terms, decimal(r.revenue))
		revenues = append(revenues, calculate(r.formula, r.revenue))
		shares = append(shares, calculate(shareFormula(r.revenue, r.target), r.percent))
	}
	if err := s.say("Now the revenue of each region: units times price, summed.", revenues...); err != nil {
		return err
	}
	all := percent(total, target)
	shares = append([]use{calculate(strings.Join(terms, " + "), total)}, shares...)
	shares = append(shares, calculate(shareFormula(total, target), all))
	if err := s.say("", shares...); err != nil {
		return err
	}
	text := markdown(found, region{name: "all", revenue: total, target: target, percent: all})
	wrote := fmt.Sprintf("wrote %d bytes to %s", len(text), OutputFile)
	if err := s.say("I have all figures and write the report.",
		use{"write_file", map[string]string{"path": OutputFile, "content": text}, wrote}); err != nil {
		return err
	}
	return s.say(answer(found, total, all))
}

// list is what list_dir gives for a folder of plain files.
func list(data fs.FS) (string, error) {
	entries, err := fs.ReadDir(data, ".")
	if err != nil {
		return "", fmt.Errorf("list the data: %w", err)
	}
	var lines []string
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return "", fmt.Errorf("list the data: %w", err)
		}
		lines = append(lines, fmt.Sprintf("%s\t%d", e.Name(), info.Size()))
	}
	return strings.Join(lines, "\n"), nil
}

// analyse computes what the files say.
func analyse(data fs.FS) ([]region, error) {
	targets, err := readTargets(data)
	if err != nil {
		return nil, err
	}
	var found []region
	for _, name := range regions() {
		f, err := data.Open(name + ".csv")
		if err != nil {
			return nil, fmt.Errorf("open the data: %w", err)
		}
		rows, err := csv.NewReader(f).ReadAll()
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		r := region{name: name, revenue: new(big.Rat), target: targets[name]}
		var terms []string
		for _, row := range rows[1:] {
			units, ok := new(big.Rat).SetString(row[2])
			price, ok2 := new(big.Rat).SetString(row[3])
			if !ok || !ok2 || r.target == nil {
				return nil, fmt.Errorf("%s: row %v or the target is no number", name, row)
			}
			terms = append(terms, row[2]+"*"+row[3])
			r.revenue.Add(r.revenue, units.Mul(units, price))
		}
		r.formula = strings.Join(terms, " + ")
		r.percent = percent(r.revenue, r.target)
		found = append(found, r)
	}
	return found, nil
}

func readTargets(data fs.FS) (map[string]*big.Rat, error) {
	text, err := fs.ReadFile(data, "targets.txt")
	if err != nil {
		return nil, fmt.Errorf("read the targets: %w", err)
	}
	targets := map[string]*big.Rat{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if n, ok := new(big.Rat).SetString(value); ok {
			targets[name] = n
		}
	}
	return targets, nil
}

func calculate(formula string, value *big.Rat) use {
	return use{"calculator", map[string]string{"expression": formula}, decimal(value)}
}

func shareFormula(revenue, target *big.Rat) string {
	return fmt.Sprintf("round(%s / %s * 100, 1)", decimal(revenue), decimal(target))
}

// percent is the share in percent, rounded to one decimal, half away from zero.
func percent(part, whole *big.Rat) *big.Rat {
	share := new(big.Rat).Quo(part, whole)
	tenths := share.Mul(share, big.NewRat(1000, 1)).FloatString(0)
	r, _ := new(big.Rat).SetString(tenths)
	return r.Quo(r, big.NewRat(10, 1))
}

// decimal writes a number with at most two decimals as the calculator does: without zeros at the end.
func decimal(r *big.Rat) string {
	s := r.FloatString(2)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

func money(r *big.Rat) string { return "$" + r.FloatString(2) }

func markdown(found []region, all region) string {
	var b strings.Builder
	b.WriteString("# Sales, July to September 2026\n\n| Region | Revenue | Target | Of target |\n|---|---:|---:|---:|\n")
	for _, r := range append(found, all) {
		fmt.Fprintf(&b, "| %s | %s | %s | %s %% |\n", r.name, money(r.revenue), money(r.target), r.percent.FloatString(1))
	}
	b.WriteString("\n" + verdict(found) + "\n")
	return b.String()
}

// verdict says who reached the target.
func verdict(found []region) string {
	var reached, missed []string
	for _, r := range found {
		if r.revenue.Cmp(r.target) >= 0 {
			reached = append(reached, r.name)
		} else {
			missed = append(missed, r.name)
		}
	}
	return fmt.Sprintf("Target reached: %s. Target missed: %s.", join(reached), join(missed))
}

func join(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

func answer(found []region, total, all *big.Rat) string {
	var parts []string
	for _, r := range found {
		parts = append(parts, fmt.Sprintf("%s %s (%s %% of target)", r.name, money(r.revenue), r.percent.FloatString(1)))
	}
	return fmt.Sprintf("Revenue from July to September 2026: %s. All together %s, %s %% of the targets. %s The report is in %s.",
		strings.Join(parts, ", "), money(total), all.FloatString(1), verdict(found), OutputFile)
}
