package trial

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// stage is a test of which this one looks at how it ends.
type stage struct {
	testing.TB
	failed, skipped string
}

func (s *stage) Helper() {}

func (s *stage) Fatalf(format string, args ...any) {
	s.failed = fmt.Sprintf(format, args...)
	panic(s)
}

func (s *stage) Skipf(format string, args ...any) {
	s.skipped = fmt.Sprintf(format, args...)
	panic(s)
}

// on runs do on a stage, and returns it when do has ended or ended the stage.
func on(t *testing.T, do func(testing.TB)) (s *stage) {
	t.Helper()
	s = &stage{TB: t}
	defer func() {
		if r := recover(); r != nil && r != any(s) {
			panic(r)
		}
	}()
	do(s)
	return s
}

func TestUntil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left, begun := 7, time.Now()
		s := on(t, func(t testing.TB) {
			Until(t, func() error {
				if left--; left > 0 {
					return errors.New("not yet")
				}
				return nil
			})
		})
		if took := time.Since(begun); s.failed != "" || left != 0 || took > time.Second {
			t.Errorf("%q after %v, %d left", s.failed, took, left)
		}
		begun = time.Now()
		s = on(t, func(t testing.TB) { Until(t, func() error { return errors.New("never") }) })
		if took := time.Since(begun); !strings.Contains(s.failed, "never") || took < Patience || took > Patience+time.Second {
			t.Errorf("%q after %v", s.failed, took)
		}
	})
}

func TestFull(t *testing.T) {
	for value, want := range map[string]bool{"": false, "some": false, "full": !testing.Short()} {
		t.Setenv("BREAKWATER_TESTS", value)
		if Full() != want {
			t.Errorf("%q: %t", value, Full())
		}
	}
}

func TestAClientThatIsMissing(t *testing.T) {
	t.Setenv("CI", "true")
	if path := Client(t, "go"); path == "" {
		t.Error("there is a go")
	}
	missing := func(t testing.TB) { Client(t, "nobody-has-this") }
	if s := on(t, missing); !strings.Contains(s.failed, "nobody-has-this") {
		t.Errorf("CI goes on: %+v", s)
	}
	os.Unsetenv("CI") // Setenv puts it back
	if s := on(t, missing); !strings.Contains(s.skipped, "nobody-has-this") {
		t.Errorf("it goes on: %+v", s)
	}
}
