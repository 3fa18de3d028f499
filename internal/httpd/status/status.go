// Package status is nginx's ngx_http_stub_status_module: seven numbers about the
// connections and requests of all workers of a master.
package status

import (
	"strconv"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
)

// Module is ngx_http_stub_status_module.
func Module() httpd.Module {
	number := func(get func(httpd.Totals) int64) httpd.Variable {
		return func(r *httpd.Request, _ string, dst []byte) ([]byte, bool) {
			return strconv.AppendInt(dst, get(httpd.Sum(r.Shared())), 10), true
		}
	}
	return httpd.Module{
		Name:   "ngx_http_stub_status_module",
		Option: "with-http_stub_status_module",
		Directives: []conf.Spec{
			{Name: "stub_status", In: conf.Server | conf.Location, Min: 0, Max: 1, Repeat: true},
		},
		Variables: map[string]httpd.Variable{
			"connections_active":  number(func(t httpd.Totals) int64 { return t.Active }),
			"connections_reading": number(func(t httpd.Totals) int64 { return t.Reading }),
			"connections_writing": number(func(t httpd.Totals) int64 { return t.Writing }),
			"connections_waiting": number(func(t httpd.Totals) int64 { return t.Waiting }),
		},
		New: func(*httpd.Builder) (httpd.Instance, error) { return instance{}, nil },
	}
}

type instance struct{}

// Location serves the page where the block itself says so: stub_status is not
// inherited.
func (instance) Location(s *conf.Scope) (httpd.Part, error) {
	if len(s.Own("stub_status")) == 0 {
		return httpd.Part{}, nil
	}
	return httpd.Part{Content: httpd.HandlerFunc(serve)}, nil
}

func serve(r *httpd.Request) int {
	if !r.Head.IsGet() && !r.Head.IsHead() {
		return 405
	}
	return r.Out.Send(200, []byte("text/plain"), appendPage(nil, httpd.Sum(r.Shared())))
}

// appendPage appends the page, byte for byte nginx's: monitors parse it.
func appendPage(b []byte, t httpd.Totals) []byte {
	for _, part := range []struct {
		text   string
		number int64
	}{
		{"Active connections: ", t.Active},
		{" \nserver accepts handled requests\n ", t.Accepted},
		{" ", t.Handled},
		{" ", t.Requests},
		{" \nReading: ", t.Reading},
		{" Writing: ", t.Writing},
		{" Waiting: ", t.Waiting},
	} {
		b = strconv.AppendInt(append(b, part.text...), part.number, 10)
	}
	return append(b, " \n"...)
}
