package examples

import (
	"encoding/csv"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"testing"
)

// figures are the parts of the report that the data make, computed here on their own from the files.
func figures(t *testing.T, folder string) []string {
	t.Helper()
	total := new(big.Rat)
	var lines []string
	for _, region := range []string{"north", "south", "west"} {
		f, err := os.Open(filepath.Join(folder, region+".csv"))
		if err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(f).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		sum := new(big.Rat)
		for _, row := range rows[1:] {
			units, ok := new(big.Rat).SetString(row[2])
			price, ok2 := new(big.Rat).SetString(row[3])
			if !ok || !ok2 {
				t.Fatalf("%s: %v", region, row)
			}
			sum.Add(sum, units.Mul(units, price))
		}
		total.Add(total, sum)
		lines = append(lines, fmt.Sprintf("| %s | $%s |", region, sum.FloatString(2)))
	}
	return append(lines, fmt.Sprintf("| all | $%s |", total.FloatString(2)))
}
