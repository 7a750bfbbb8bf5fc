package console

import (
	"fmt"
	"time"

	"example.org/breakwater/cmd/internal/status"
)

// short is a time in one unit, as status prints it, or in milliseconds.
func short(d time.Duration) string {
	if d = max(0, d); d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return status.Short(d)
}

// seconds is short of a time in seconds, as JSON has it.
func seconds(n float64) string { return short(time.Duration(n * float64(time.Second))) }
