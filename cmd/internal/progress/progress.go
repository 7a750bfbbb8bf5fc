// Package progress shows how far long work is: as a bar in the last line of a terminal, and
// elsewhere by the lines alone that the work prints anyway.
package progress

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

const (
	barWidth     = 24 // runes between the brackets
	narrow       = 50 // columns below which there is the text alone
	defaultWidth = 80 // columns of a terminal that does not say
	erasing      = "\r\x1b[K"
)

// Bar is how far one piece of work is. It may be told by several at once. Nil shows nothing.
type Bar struct {
	screen *os.File // nil: there is no terminal that takes a bar
	begun  time.Time

	mu    sync.Mutex
	now   string // the bar and its text, without the time; "": nothing to show
	done  int
	total int
	ended bool
	stop  chan struct{}
}

// Show gives work a bar on w, where that is a terminal, and neither NO_COLOR
// (https://no-color.org) nor TERM=dumb is set. It is seen from the first To until End.
func Show(w io.Writer) *Bar {
	b := &Bar{begun: time.Now(), stop: make(chan struct{})}
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return b
	}
	b.screen = f
	go func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-b.stop:
				return
			case <-tick.C:
				b.mu.Lock()
				b.draw()
				b.mu.Unlock()
			}
		}
	}()
	return b
}

// Live reports whether there is a terminal that shows the bar.
func (b *Bar) Live() bool { return b != nil && b.screen != nil }

// To says how far the work is: done of total, and what is under way; of a total of 0 nobody
// knows how much it is.
func (b *Bar) To(done, total int, what string) {
	if !b.Live() {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done, b.total, b.now = done, total, oneLine(what)
	if b.now == "" && total == 0 {
		b.now = " "
	}
	b.draw()
}

// Println prints a line where it belongs, above the bar.
func (b *Bar) Println(w io.Writer, line string) {
	if b == nil {
		fmt.Fprintln(w, line)
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.erase()
	fmt.Fprintln(w, line)
	b.draw()
}

// Hide takes the bar from the screen until the next To: for what asks, or prints much.
func (b *Bar) Hide() {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.erase()
	b.now, b.total = "", 0
}

// End takes the bar from the screen. It may be called again.
func (b *Bar) End() {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ended {
		b.erase()
		b.ended = true
		close(b.stop)
	}
}

func (b *Bar) shown() bool { return b.Live() && !b.ended && (b.now != "" || b.total > 0) }

func (b *Bar) erase() {
	if b.shown() {
		io.WriteString(b.screen, erasing) //nolint:errcheck // as for all that is shown
	}
}

func (b *Bar) draw() {
	if !b.shown() {
		return
	}
	width, _, err := term.GetSize(int(b.screen.Fd()))
	if err != nil || width <= 0 {
		width = defaultWidth
	}
	io.WriteString(b.screen, erasing+b.text(width-1)) //nolint:errcheck // as for all that is shown
}

// text is the line, of so many columns at most: one more, and the terminal would begin another.
func (b *Bar) text(width int) string {
	took := time.Since(b.begun).Truncate(time.Second).String()
	line := took + "  " + b.now
	if b.total > 0 {
		line = fmt.Sprintf("%d of %d, %s  %s", b.done, b.total, took, b.now)
		if width >= narrow {
			full := barWidth * min(max(b.done, 0), b.total) / b.total
			line = "[" + strings.Repeat("=", full) + strings.Repeat(" ", barWidth-full) + "] " + line
		}
	}
	if utf8.RuneCountInString(line) > width {
		line = string([]rune(line)[:max(width, 0)])
	}
	return line
}

// oneLine is a text without what would move the cursor: it may come from a Harbor.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, text)
}
