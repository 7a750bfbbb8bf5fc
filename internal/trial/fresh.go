package trial

import (
	"os"
	"testing"
	"time"
)

// Fresh keeps a file as young as one that is written each second, until the test ends.
func Fresh(t testing.TB, file string) {
	go func() {
		again := time.NewTicker(time.Second)
		defer again.Stop()
		for {
			select {
			case <-t.Context().Done():
				return
			case now := <-again.C:
				os.Chtimes(file, now, now) //nolint:errcheck // between two of them it may not be there
			}
		}
	}()
}
