package lab

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// cronSpec is a schedule of six fields, as Harbor takes it: second, minute, hour,
// day of the month, month, day of the week. Each is a set of numbers, bit by bit.
type cronSpec [6]uint64

var cronRanges = [6][2]int{{0, 59}, {0, 59}, {0, 23}, {1, 31}, {1, 12}, {0, 6}}

func parseCron(s string) (spec cronSpec, err error) {
	fields := strings.Fields(s)
	if len(fields) != len(spec) {
		return spec, fmt.Errorf("expected exactly 6 fields, found %d: %v", len(fields), fields)
	}
	for i, field := range fields {
		for part := range strings.SplitSeq(field, ",") {
			bits, err := parseCronPart(part, cronRanges[i])
			if err != nil {
				return spec, err
			}
			spec[i] |= bits
		}
	}
	return spec, nil
}

// parseCronPart reads *, n, n-m, each with /step.
func parseCronPart(part string, limits [2]int) (bits uint64, err error) {
	span, stepText, stepped := strings.Cut(part, "/")
	step := 1
	if stepped {
		if step, err = strconv.Atoi(stepText); err != nil || step <= 0 {
			return 0, fmt.Errorf("failed to parse int from %s", stepText)
		}
	}
	first, last := limits[0], limits[1]
	if span != "*" && span != "?" {
		from, to, ranged := strings.Cut(span, "-")
		if first, err = strconv.Atoi(from); err != nil {
			return 0, fmt.Errorf("failed to parse int from %s", from)
		}
		if ranged {
			if last, err = strconv.Atoi(to); err != nil {
				return 0, fmt.Errorf("failed to parse int from %s", to)
			}
		} else if !stepped {
			last = first
		}
	}
	if first < limits[0] || last > limits[1] || first > last {
		return 0, fmt.Errorf("%s is not within %d-%d", part, limits[0], limits[1])
	}
	for n := first; n <= last; n += step {
		bits |= 1 << n
	}
	return bits, nil
}

// next is when the schedule comes due after t; the zero time when never.
func (spec cronSpec) next(t time.Time) time.Time {
	has := func(field, n int) bool { return spec[field]&(1<<n) != 0 }
	t = t.UTC().Truncate(time.Minute).Add(time.Minute)
	for end := t.AddDate(4, 0, 0); t.Before(end); {
		switch {
		case !has(4, int(t.Month())) || !has(3, t.Day()) || !has(5, int(t.Weekday())):
			t = t.Truncate(24*time.Hour).AddDate(0, 0, 1)
		case !has(2, t.Hour()):
			t = t.Truncate(time.Hour).Add(time.Hour)
		case !has(1, t.Minute()):
			t = t.Add(time.Minute)
		default:
			return t
		}
	}
	return time.Time{}
}
