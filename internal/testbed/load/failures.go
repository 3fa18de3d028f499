package load

import (
	"fmt"
	"time"
)

// failures keeps the first failures of some clients in words. Whoever counts them
// guards it.
type failures struct {
	began time.Time
	kept  []Failure
}

func (f *failures) add(format string, args ...any) { f.addOf("", format, args...) }

// addOf is add for a connection that by had answered on.
func (f *failures) addOf(by, format string, args ...any) {
	if len(f.kept) < maxFailures {
		f.kept = append(f.kept, Failure{At: time.Since(f.began), What: fmt.Sprintf(format, args...), By: by})
	}
}

// soFar returns what was kept, for a report that does not change any more.
func (f *failures) soFar() []Failure { return f.kept[:len(f.kept):len(f.kept)] }
