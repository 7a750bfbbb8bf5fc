//go:build race

package state_test

// underRace: the detector checks pointers too, and ends the process where bolt follows a
// damaged one: nobody can recover from that, and no edge is built so.
const underRace = true
