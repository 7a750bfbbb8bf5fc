package provision

import "strconv"

// Counted is a number of things: 1 object, 2 objects.
func Counted[N int | int64](n N, one string) string {
	text := strconv.FormatInt(int64(n), 10) + " " + one
	if n != 1 {
		text += "s"
	}
	return text
}
