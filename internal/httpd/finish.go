package httpd

import (
	"bytes"
	"log/slog"
	"strconv"

	"github.com/baton-deploy/baton/internal/errorlog"
)

// An errorPage is one error_page directive.
type errorPage struct {
	codes []int
	// status replaces the code: 0 keeps it, -1 takes that of the page ("=").
	status int
	target Template
}

// pageFor returns the error_page for code, or nil.
func (c *coreConf) pageFor(code int) *errorPage {
	for i := range c.errorPages {
		for _, have := range c.errorPages[i].codes {
			if have == code {
				return &c.errorPages[i]
			}
		}
	}
	return nil
}

// finish answers with status what no handler answered: the page that error_page
// names, or nginx's own.
func (r *Request) finish(status int) {
	r.finishing = true
	if endsSilently(status) && !r.Out.head {
		r.Out.Status = status
		r.Out.Abort()
		return
	}
	if endsConnection(status) {
		r.keepalive = false
	}
	for range maxRedirects + 1 {
		page := r.core().pageFor(status)
		if page == nil || r.Out.head || r.c.broken != nil || r.errorPage {
			break
		}
		next := r.servePage(page, status)
		if next == Done {
			return
		}
		status = next
	}
	r.sendStatusPage(status)
}

// servePage serves the target of an error_page and returns Done or the status
// that is to be answered instead.
func (r *Request) servePage(page *errorPage, status int) int {
	r.errorPage = !r.core().recursiveErrorPages
	target := page.target.Append(nil, r)
	switch {
	case len(target) > 0 && target[0] == '@':
		r.Out.forceStatus(page.status, status)
		return r.pageStatus(r.NamedLocation(string(target)))
	case len(target) > 0 && target[0] == '/':
		r.Out.forceStatus(page.status, status)
		uri, args, _ := bytes.Cut(target, []byte("?"))
		r.becomeGet()
		return r.pageStatus(r.InternalRedirect(uri, args))
	}
	r.Out.Location = page.target.AppendURL(nil, r)
	switch page.status {
	case 301, 302, 303, 307, 308:
		r.sendStatusPage(page.status)
	default:
		r.sendStatusPage(302)
	}
	return Done
}

// becomeGet makes an error page be fetched with GET, whatever was asked; a HEAD
// request still gets no body. $request stays the client's.
func (r *Request) becomeGet() {
	if r.Head.IsHead() || r.Head.IsGet() {
		return
	}
	r.askedMethod = append([]byte(nil), r.Head.Method()...)
	r.Head.SetMethod("GET")
}

// pageStatus is what follows when an error page could not be served itself.
func (r *Request) pageStatus(result int) int {
	if result != Done {
		r.Out.override = 0
	}
	return result
}

// forceStatus makes whatever is sent from now on carry a status of its own.
func (o *Response) forceStatus(want, was int) {
	switch want {
	case -1:
		o.override = 0
	case 0:
		o.override = shownStatus(was)
	default:
		o.override = want
	}
}

// sendStatusPage sends nginx's page for a status, or an empty answer where a page
// makes no sense.
func (r *Request) sendStatusPage(status int) {
	if r.Out.head {
		// Too late for a status: the client must not take the part it has for all.
		r.Out.Abort()
		return
	}
	o := &r.Out
	o.override = 0
	location := o.Location
	if endsSilently(status) {
		o.Status = status
		o.Abort()
		return
	}
	fields := o.Fields
	o.ContentType, o.LastModified, o.ETag, o.Server, o.Date, o.Reason = nil, nil, nil, nil, nil, ""
	if !o.keepFields {
		o.Fields = keepErrorFields(fields)
	}
	o.Location = nil
	switch status {
	case 301, 302, 303, 307, 308:
		if len(location) == 0 {
			o.Add("Location", []byte{})
		}
		o.Location = r.absoluteLocation(location)
		o.completed = len(o.Location) > len(location)
	case 204, 304:
		o.Status, o.ContentLength = status, -1
		_ = o.SendHead()
		return
	}
	shown := shownStatus(status)
	if statusText(shown) == "" || shown < 300 {
		o.Send(shown, nil, nil)
		return
	}
	o.Send(shown, htmlType, r.statusPage(status))
}

var htmlType = []byte("text/html")

// keepErrorFields keeps of a handler's fields what an error answer needs too.
func keepErrorFields(fields []Field) []Field {
	kept := fields[:0]
	for _, f := range fields {
		switch f.Name {
		case "WWW-Authenticate", "Allow", "Content-Range", "Retry-After":
			kept = append(kept, f)
		}
	}
	return kept
}

// statusPage is nginx's page, byte for byte but for the name of the server.
func (r *Request) statusPage(status int) []byte {
	name := statusNames[shownStatus(status)]
	if name.title == "" {
		name.title = name.reason
	}
	heading := strconv.Itoa(shownStatus(status)) + " " + name.title
	title, note := heading, ""
	if n, ok := badRequestNotes[status]; ok {
		title, note = "400 "+n[0], "<center>"+n[1]+"</center>\r\n"
	}
	// Not Scratch: what adds fields to the head may use that.
	b := r.page[:0]
	b = append(b, "<html>\r\n<head><title>"...)
	b = append(b, title...)
	b = append(b, "</title></head>\r\n<body>\r\n<center><h1>"...)
	b = append(b, heading...)
	b = append(b, "</h1></center>\r\n"...)
	b = append(b, note...)
	b = append(b, "<hr><center>"...)
	b = append(b, r.core().serverToken...)
	b = append(b, "</center>\r\n</body>\r\n</html>\r\n"...)
	if status >= 400 && r.core().msiePadding && wantsPadding(r.Field("User-Agent")) {
		for range 6 {
			b = append(b, "<!-- a padding to disable MSIE and Chrome friendly error page -->\r\n"...)
		}
	}
	r.page = b
	return b
}

func wantsPadding(agent []byte) bool {
	return bytes.Contains(agent, []byte("MSIE ")) && !bytes.Contains(agent, []byte("Opera")) ||
		bytes.Contains(agent, []byte("Chrome/"))
}

// absoluteLocation completes a redirect to a path of this server.
func (r *Request) absoluteLocation(to []byte) []byte {
	if len(to) == 0 || to[0] != '/' || !r.core().absoluteRedirect {
		return to
	}
	_, port := r.LocalAddr()
	b := append(append([]byte(nil), r.scheme()...), "://"...)
	switch {
	case r.core().serverNameInRedirect && r.Server.Name != "":
		b = append(b, r.Server.Name...)
	case len(r.Host) > 0:
		b = append(b, r.Host...)
	default:
		addr, _ := r.LocalAddr()
		b = append(b, addr...)
	}
	if r.core().portInRedirect && port != "" && port != r.defaultPort() {
		b = append(append(b, ':'), port...)
	}
	return append(b, to...)
}

// Log writes to the error log of the location, with what nginx says about a
// request behind the message. err may be nil.
func (r *Request) Log(level slog.Level, msg string, err error) {
	if e := r.beginLog(level); e != nil {
		e.Text(msg)
		e.Cause(err)
		r.endLog(e, "")
	}
}

// LogUpstream is [Request.Log] about an upstream server, whose URL goes into the
// line.
func (r *Request) LogUpstream(level slog.Level, msg, upstream string) {
	if e := r.beginLog(level); e != nil {
		e.Text(msg)
		r.endLog(e, upstream)
	}
}

// beginLog begins a line about the request; nil when it would not be written.
func (r *Request) beginLog(level slog.Level) *errorlog.Entry {
	log := r.c.srv.logger(r.loc)
	if !log.Enabled(level) {
		return nil
	}
	e := log.Begin(level)
	e.Conn(r.c.number)
	return e
}

// endLog completes and writes it.
func (r *Request) endLog(e *errorlog.Entry, upstream string) {
	e.Field("client", r.RemoteAddr())
	e.Field("server", r.Server.Name)
	if len(r.line) > 0 {
		e.Quoted("request", r.line)
	}
	if upstream != "" {
		e.Quoted("upstream", []byte(upstream))
	}
	if host := r.loggedHost(); len(host) > 0 {
		e.Quoted("host", host)
	}
	e.Write()
}

// loggedHost is the Host field, also of a head that is still being scanned.
func (r *Request) loggedHost() []byte {
	for fs := fieldsOf(r.clean); fs.next(); {
		if equalFold(fs.name, "host") {
			return fs.value
		}
	}
	return nil
}

// AppendRequestLine appends the request line as the client sent it.
func (r *Request) AppendRequestLine(dst []byte) []byte { return append(dst, r.line...) }
