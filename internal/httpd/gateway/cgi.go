package gateway

import "fmt"

// parseCGI completes a head that has no status line: a field Status tells the status,
// or else Location that it is a redirect. Nothing in such a head is about the
// connection.
func (a *answer) parseCGI() error {
	a.chunks, a.close = false, true
	if a.status != 0 {
		return nil // it had a status line
	}
	a.status = 200
	located := false
	for i := range a.fields {
		f := &a.fields[i]
		switch {
		case IsName(f.name, "status"):
			return a.cgiStatus(f.value)
		case IsName(f.name, "location"):
			located = true
		}
	}
	if located {
		a.status = 302
	}
	return nil
}

// cgiStatus reads "404 Not Found".
func (a *answer) cgiStatus(v []byte) error {
	const digits = 3
	n := 0
	for i := range digits {
		if i >= len(v) || v[i] < '0' || v[i] > '9' {
			return badStatus(v)
		}
		n = n*10 + int(v[i]-'0')
	}
	if n < 100 {
		return badStatus(v)
	}
	a.status = n
	if len(v) > digits && v[digits] == ' ' {
		a.reason = v[digits+1:]
	}
	return nil
}

func badStatus(v []byte) error { return fmt.Errorf("upstream sent invalid status \"%s\"", v) }
