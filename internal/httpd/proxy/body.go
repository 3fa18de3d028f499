package proxy

import (
	"io"
	"os"
)

// A body is the client's, read whole before a server is asked, or streamed.
type body struct {
	mem     []byte   // a whole one that is small
	file    *os.File // a whole one that is not
	length  int64    // -1: streamed, and not known
	streams bool
	ended   bool // a streamed one was read to its end
	status  int  // the answer when it could not be read while it was streamed
	shared  bool // it is an earlier exchange's, which closes it
}

func (b *body) close() {
	if b.file != nil && !b.shared {
		_ = b.file.Close()
	}
	b.file = nil
}

// takeBody gets the client's body ready to be sent. A status other than 0 is the
// answer.
func (x *exchange) takeBody(earlier *exchange) (status int) {
	l, b := x.loc, x.r.Body()
	switch {
	case earlier != nil && earlier.body != nil:
		// The request was passed on before and came back by an internal redirect.
		again := *earlier.body
		again.shared = true
		x.body = &again
		return 0
	case l.setBody != nil:
		mem := l.setBody.Append(nil, x.r)
		x.body = &body{mem: mem, length: int64(len(mem))}
		return 0
	case !l.passBody:
		x.body = &body{}
		return 0
	case b.Length() == 0:
		if len(x.r.Field("Content-Length")) > 0 {
			x.body = &body{}
		}
		return 0
	case !l.requestBuf && (b.Length() > 0 || l.http11):
		x.body = &body{streams: true, length: b.Length()}
		return 0
	}
	x.body = new(body)
	if err := x.readWhole(); err != nil {
		if _, ok := err.(tempError); ok {
			x.log(levelCrit, err.Error())
			return 500
		}
		if status = bodyStatus(err); status != 413 {
			x.log(levelInfo, err.Error())
		} else {
			x.log(levelError, err.Error())
		}
	}
	return status
}

// maxFirstRead bounds what is set aside for a body of which only the client says
// how long it is.
const maxFirstRead = 16 << 10

// readWhole reads the client's body into memory, or into a file when it is larger
// than client_body_buffer_size.
func (x *exchange) readWhole() error {
	in, out := x.r.Body(), x.body
	limit := x.r.Location().BodyBuffer()
	if n := in.Length(); n > 0 && n <= limit+limit/4 {
		limit = n
	}
	out.mem = make([]byte, 0, min(limit, maxFirstRead))
	for {
		if len(out.mem) == cap(out.mem) {
			if int64(len(out.mem)) >= limit {
				return x.spill()
			}
			grown := make([]byte, len(out.mem), min(limit, int64(2*cap(out.mem))))
			copy(grown, out.mem)
			out.mem = grown
		}
		n, err := in.Read(out.mem[len(out.mem):cap(out.mem)])
		out.mem = out.mem[:len(out.mem)+n]
		switch {
		case err == io.EOF:
			out.length = int64(len(out.mem))
			return nil
		case err != nil:
			return err
		case int64(len(out.mem)) == in.Length():
			out.length = in.Length()
			return nil
		}
	}
}

// tempError is a failure of the temporary file.
type tempError struct{ err error }

func (e tempError) Error() string { return e.err.Error() }

// spill moves the body to a file and reads the rest into it.
func (x *exchange) spill() error {
	out := x.body
	fd, name, err := x.r.CreateTemp(&x.loc.bodyTemp)
	if err != nil {
		return tempError{err}
	}
	f := os.NewFile(uintptr(fd), name)
	x.log(levelWarn, "a client request body is buffered to a temporary file "+name)
	out.file = f
	if _, err := f.Write(out.mem); err != nil {
		return tempError{err}
	}
	out.length = int64(len(out.mem))
	buf := out.mem[:cap(out.mem)]
	if len(buf) < copyBytes {
		buf = make([]byte, copyBytes)
	}
	for {
		n, err := x.r.Body().Read(buf)
		if n > 0 {
			if _, werr := f.Write(buf[:n]); werr != nil {
				return tempError{werr}
			}
			out.length += int64(n)
		}
		if err == io.EOF {
			out.mem = nil
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// copyBytes is how much of a body is moved at once.
const copyBytes = 32 << 10
