package httpd

import (
	"bytes"

	"github.com/baton-deploy/baton/internal/conf"
)

// browsers are those that keepalive_disable names.
type browsers uint8

const (
	browserMSIE6  browsers = 1 << iota // for requests with POST only, as for nginx
	browserSafari                      // and what looks like it, on a Mac
)

var browserNames = map[string]browsers{"none": 0, "msie6": browserMSIE6, "safari": browserSafari}

func checkBrowsers(d *conf.Directive) error {
	for _, v := range d.Args {
		if _, ok := browserNames[v]; !ok {
			return conf.Errorf(d, "invalid value \"%s\"", v)
		}
	}
	return nil
}

// browsersOf reads a directive that was checked; without one it is msie6.
func browsersOf(d *conf.Directive) browsers {
	if d == nil {
		return browserMSIE6
	}
	var bs browsers
	for _, v := range d.Args {
		bs |= browserNames[v]
	}
	return bs
}

// names reports whether the request comes from one of the browsers.
func (bs browsers) names(r *Request) bool {
	if bs == browserMSIE6 && !r.Head.IsPost() {
		return false
	}
	agent := r.Head.Peek("User-Agent")
	if bytes.Contains(agent, []byte("Opera")) {
		return false
	}
	if _, version, found := bytes.Cut(agent, []byte("MSIE ")); found && len(version) > 2 {
		old := version[1] == '.' && (version[0] == '4' || version[0] == '5' ||
			version[0] == '6' && !bytes.Contains(version[2:], []byte("SV1")))
		return old && bs&browserMSIE6 != 0 && r.Head.IsPost()
	}
	return bs&browserSafari != 0 && !bytes.Contains(agent, []byte("Gecko/")) && !bytes.Contains(agent, []byte("Chrome/")) &&
		bytes.Contains(agent, []byte("Safari/")) && bytes.Contains(agent, []byte("Mac OS X"))
}
