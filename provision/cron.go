package provision

import (
	"fmt"
	"hash/fnv"
	"time"
)

// daily is when retention runs, as Harbor's own default has it.
const daily = "0 0 0 * * *"

// cron writes an interval as Harbor takes it: six fields, the seconds 0, the minute
// never "*". Runs of different names are spread over the interval: an upstream or a
// peer is not asked by everybody at once.
func cron(every time.Duration, name string) (string, error) {
	h := fnv.New32a()
	h.Write([]byte(name)) //nolint:errcheck // never fails
	minutes := int(every / time.Minute)
	if minutes < 1 {
		return "", fmt.Errorf("%v is less than a minute", every)
	}
	at := int(h.Sum32() % uint32(minutes))
	hours, days := minutes/60, minutes/60/24
	switch {
	case every%time.Minute != 0:
	case minutes == 1:
		return "0 0-59 * * * *", nil
	case minutes < 60 && 60%minutes == 0:
		return fmt.Sprintf("0 %d/%d * * * *", at, minutes), nil
	case minutes == 60:
		return fmt.Sprintf("0 %d * * * *", at), nil
	case minutes%60 == 0 && hours < 24 && 24%hours == 0:
		return fmt.Sprintf("0 %d %d/%d * * *", at%60, at/60, hours), nil
	case hours == 24:
		return fmt.Sprintf("0 %d %d * * *", at%60, at/60), nil
	case days == 7 && minutes == 7*24*60:
		return fmt.Sprintf("0 %d %d * * %d", at%60, at/60%24, at/60/24), nil
	}
	return "", fmt.Errorf("schedules of Harbor's cannot repeat every %v: write minutes that divide an hour, hours that divide a day, 1d or 7d", every)
}
