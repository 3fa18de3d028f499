package httpd

// A Head is the request line and the fields of a request, as far as they were
// understood. What its methods return is valid until the request is over and must
// not be changed.
//
// It is what the scan of the head by nginx's rules left, and nothing reads the bytes
// a second time: two parsers of one head are two opinions on where its fields are.
type Head struct {
	method, target []byte
	http11         bool
	fields         []byte // a line for each
}

// set takes what the scan kept of a head: the line that clean begins with, in its
// pieces, and the fields behind it.
func (h *Head) set(l *requestLine, clean []byte) {
	m, t := len(l.method), len(l.target)
	h.method = clean[:m:m]
	h.target = clean[m+1 : m+1+t : m+1+t]
	h.http11 = l.version >= 11
	h.fields = clean[m+1+t+len(" HTTP/1.x\r\n"):]
}

// Method is the request's method; "GET" as long as none was understood.
func (h *Head) Method() []byte {
	if h.method == nil {
		return methodGet
	}
	return h.method
}

var methodGet = []byte("GET")

// SetMethod makes the request one of another method.
func (h *Head) SetMethod(method string) { h.method = []byte(method) }

// IsGet reports whether the method is GET.
func (h *Head) IsGet() bool { return h.method == nil || string(h.method) == "GET" }

// IsHead reports whether the method is HEAD.
func (h *Head) IsHead() bool { return string(h.method) == "HEAD" }

// IsPost reports whether the method is POST.
func (h *Head) IsPost() bool { return string(h.method) == "POST" }

// IsHTTP11 reports whether the client speaks HTTP/1.1 or above.
func (h *Head) IsHTTP11() bool { return h.http11 }

// RequestURI is the request target as the client sent it.
func (h *Head) RequestURI() []byte { return h.target }

// Peek returns the value of the first field of that name, in any case, or nil; one
// that is empty is not nil.
func (h *Head) Peek(name string) []byte {
	for fs := fieldsOf(h.fields); fs.next(); {
		if equalFold(fs.name, name) {
			return fs.value
		}
	}
	return nil
}
