package daemon

// Lack is something wrong with what a daemon needs, as its reports have it.
type Lack struct {
	ID    string `json:"id"`    // as breakwater doctor has it
	Fault bool   `json:"fault"` // false: a warning
	What  string `json:"what"`
	Do    string `json:"do"`
}
