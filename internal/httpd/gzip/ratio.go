package gzip

import (
	"strconv"

	"github.com/baton-deploy/baton/internal/httpd"
)

// sizes are how long one response was before and after it was compressed.
type sizes struct {
	plain, packed int64
	whole         bool // all of it was compressed
}

// ratioVariable is $gzip_ratio: "3.07", rounded as nginx does.
func (in *instance) ratioVariable(r *httpd.Request, _ string, dst []byte) ([]byte, bool) {
	s, ok := r.State(in.key).(*sizes)
	if !ok || !s.whole || s.packed == 0 {
		return dst, false
	}
	hundredths := (s.plain*1000/s.packed + 5) / 10
	dst = strconv.AppendInt(dst, hundredths/100, 10)
	return append(dst, '.', byte('0'+hundredths/10%10), byte('0'+hundredths%10)), true
}
