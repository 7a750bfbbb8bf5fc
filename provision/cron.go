package provision

import (
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
	"time"

	"example.org/breakwater/internal/fleet"
)

// daily is when retention runs, as Harbor's own default has it.
const daily = "0 0 0 * * *"

// cron writes an interval as Harbor takes it: six fields, the seconds 0, the minute
// never "*". Runs of different names are spread over the interval: an upstream or a
// peer is not asked by everybody at once.
func cron(every time.Duration, name string) (string, error) {
	h := fnv.New32a()
	h.Write([]byte(name)) //nolint:errcheck // never fails
	if err := fleet.CheckInterval(every); err != nil {
		return "", err
	}
	minutes := int(every / time.Minute)
	at := int(h.Sum32() % uint32(minutes))
	switch hours := minutes / 60; {
	case minutes == 1:
		return "0 0-59 * * * *", nil
	case minutes < 60:
		return fmt.Sprintf("0 %d/%d * * * *", at, minutes), nil
	case hours == 1:
		return fmt.Sprintf("0 %d * * * *", at), nil
	case hours < 24:
		return fmt.Sprintf("0 %d %d/%d * * *", at%60, at/60, hours), nil
	case hours == 24:
		return fmt.Sprintf("0 %d %d * * *", at%60, at/60), nil
	}
	return fmt.Sprintf("0 %d %d * * %d", at%60, at/60%24, at/60/24), nil
}

// interval is how often a schedule of the shapes that cron writes runs; 0 for others.
func interval(schedule string) time.Duration {
	f := strings.Fields(schedule)
	if len(f) != 6 || f[0] != "0" {
		return 0
	}
	step := func(field string) int {
		_, text, ok := strings.Cut(field, "/")
		if !ok {
			return 0
		}
		n, err := strconv.Atoi(text)
		if err != nil {
			return 0
		}
		return n
	}
	number := func(field string) bool { _, err := strconv.Atoi(field); return err == nil }
	switch minute, hour, rest := f[1], f[2], strings.Join(f[3:5], " "); {
	case rest != "* *":
		return 0
	case minute == "0-59" && hour == "*" && f[5] == "*":
		return time.Minute
	case step(minute) > 0 && hour == "*" && f[5] == "*":
		return time.Duration(step(minute)) * time.Minute
	case !number(minute):
		return 0
	case hour == "*" && f[5] == "*":
		return time.Hour
	case step(hour) > 0 && f[5] == "*":
		return time.Duration(step(hour)) * time.Hour
	case number(hour) && f[5] == "*":
		return 24 * time.Hour
	case number(hour) && number(f[5]):
		return 7 * 24 * time.Hour
	}
	return 0
}
