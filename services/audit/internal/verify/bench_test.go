package verify_test

import (
	"path/filepath"
	"testing"

	"github.com/agentos-kernel/agentos/services/audit/internal/audittest"
	"github.com/agentos-kernel/agentos/services/audit/internal/signer"
	"github.com/agentos-kernel/agentos/services/audit/internal/store"
	"github.com/agentos-kernel/agentos/services/audit/internal/verify"
)

func BenchmarkVerify(b *testing.B) {
	const size = 20000
	key, err := signer.Open(filepath.Join(b.TempDir(), "audit.key"))
	if err != nil {
		b.Fatal(err)
	}
	e := audittest.New(b)
	recs := e.Write(b, size)
	for i := 0; i < size; i += 200 {
		e.Log(b, recs[i:i+200])
		if _, _, err := store.Sign(b.Context(), e.Audit, key.Sign); err != nil {
			b.Fatal(err)
		}
	}
	b.ResetTimer()
	for range b.N {
		if r, err := verify.Run(b.Context(), e.Audit, key.Verifiers()); err != nil || !r.OK {
			b.Fatal(r, err)
		}
	}
	b.ReportMetric(float64(size*b.N)/b.Elapsed().Seconds(), "entries/s")
}
