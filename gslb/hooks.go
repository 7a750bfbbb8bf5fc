package gslb

// hooks are told what happens on the wire; a nil one is not.
type hooks struct {
	onAnswer     func(qtype uint16, rcode int, tcp bool)
	onLimit      func(slipped bool) // by the rate limit: slipped, or not answered at all
	onConnection func(change int)   // of the number of TCP connections: 1 or -1
	onPanic      func()             // answering a query ended in a panic
	onEvict      func()             // a TCP connection gave way to a new one
}

func (h *hooks) answered(qtype uint16, rcode int, tcp bool) {
	if h != nil && h.onAnswer != nil {
		h.onAnswer(qtype, rcode, tcp)
	}
}

func (h *hooks) limited(slipped bool) {
	if h != nil && h.onLimit != nil {
		h.onLimit(slipped)
	}
}

func (h *hooks) connection(change int) {
	if h != nil && h.onConnection != nil {
		h.onConnection(change)
	}
}

func (h *hooks) evicted() {
	if h != nil && h.onEvict != nil {
		h.onEvict()
	}
}

func (h *hooks) panicked() {
	if h != nil && h.onPanic != nil {
		h.onPanic()
	}
}
