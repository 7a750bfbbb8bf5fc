package main

import "fmt"

// counted is a number of things: "1 datacenter", "2 datacenters".
func counted[N int | int64](n N, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// isOrAre is the verb after that.
func isOrAre(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}
