package gateway

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// A Body is the client's, read whole before a server is asked, or streamed.
type Body struct {
	mem     []byte   // a whole one that is small
	file    *os.File // a whole one that is not
	Length  int64    // -1: streamed, and not known
	streams bool
	ended   bool   // a streamed one was read to its end
	status  int    // the answer when it could not be read while it was streamed
	clean   string // the file's name when that goes at the request's end; "" for one that stays or has none
	shared  bool   // it is an earlier exchange's, which closes it
}

// InMemory returns the body when all of it is in memory: the caller may send it behind
// the head. b may be nil.
func (b *Body) InMemory() (content []byte, ok bool) {
	if b == nil {
		return nil, true
	}
	return b.mem, b.file == nil && !b.streams
}

func (b *Body) close() {
	if b.file != nil && !b.shared {
		_ = b.file.Close()
		if b.clean != "" {
			_ = unix.Unlink(b.clean)
		}
	}
	b.file = nil
}

// takeBody gets the client's body ready to be sent. A status other than 0 is the
// answer: nothing of a body that is known to be broken or too large is sent.
func (x *Exchange) takeBody(earlier *Exchange) (status int) {
	l, b := x.loc, x.R.Body()
	if earlier != nil && earlier.read != nil {
		// The request was passed on before and came back by an internal redirect.
		again := *earlier.read
		again.shared = true
		x.read = &again
	}
	whole, streams := false, !l.requestBuf && (b.Length() > 0 || l.StreamsAny)
	if x.read == nil && b.Length() != 0 {
		var err error
		if whole, err = b.Ahead(); err != nil {
			return x.bodyRefused(err)
		}
		if l.bodyFile != "off" && (!streams || l.SetBody != nil || !l.passBody) {
			x.read = new(Body)
			x.Body = x.read
			if err := x.spill(); err != nil {
				return x.bodyRefused(err)
			}
		}
	}
	switch {
	case l.SetBody != nil:
		mem := l.SetBody.Append(nil, x.R)
		x.Body = &Body{mem: mem, Length: int64(len(mem))}
		return 0
	case x.read != nil && l.passBody:
		x.Body = x.read
		return 0
	case b.Length() == 0:
		if len(x.R.Field("Content-Length")) > 0 {
			x.Body = &Body{}
		}
		return 0
	case !l.passBody:
		x.Body = &Body{}
		return 0
	case streams && !whole:
		b.Want()
		x.read = &Body{streams: true, Length: b.Length()}
		x.Body = x.read
		return 0
	}
	x.read = new(Body)
	x.Body = x.read
	if err := x.readWhole(); err != nil {
		return x.bodyRefused(err)
	}
	return 0
}

// bodyRefused is the answer to a body that could not be had.
func (x *Exchange) bodyRefused(err error) (status int) {
	if _, ok := err.(tempError); ok {
		x.Log(LevelCrit, err.Error())
		return 500
	}
	if status = bodyStatus(err); status == 413 {
		x.Log(LevelError, err.Error())
	} else {
		x.Log(LevelInfo, err.Error())
	}
	return status
}

// maxFirstRead bounds what is set aside for a body of which only the client says
// how long it is.
const maxFirstRead = 16 << 10

// readWhole reads the client's body into memory, or into a file when it is larger
// than client_body_buffer_size.
func (x *Exchange) readWhole() error {
	in, out := x.R.Body(), x.Body
	limit := x.R.Location().BodyBuffer()
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
			out.Length = int64(len(out.mem))
			return nil
		case err != nil:
			return err
		case int64(len(out.mem)) == in.Length():
			out.Length = in.Length()
			return in.AwaitEnd()
		}
	}
}

// tempError is a Failure of the temporary file.
type tempError struct{ err error }

func (e tempError) Error() string { return e.err.Error() }

// spill moves the body to a file and reads the rest into it.
func (x *Exchange) spill() error {
	out := x.Body
	create, level := x.R.CreateTemp, LevelWarn
	if x.loc.bodyFile != "off" {
		create, level = x.R.CreateKept, LevelNotice
	}
	fd, name, err := create(&x.loc.bodyTemp)
	if err != nil {
		return tempError{err}
	}
	f := os.NewFile(uintptr(fd), name)
	x.Log(level, "a client request body is buffered to a temporary file "+name)
	out.file = f
	if x.loc.bodyFile == "clean" {
		out.clean = name
	}
	x.R.Body().PutInto(name)
	if _, err := f.Write(out.mem); err != nil {
		return tempError{err}
	}
	out.Length = int64(len(out.mem))
	buf := out.mem[:cap(out.mem)]
	if len(buf) < copyBytes {
		buf = make([]byte, copyBytes)
	}
	for {
		n, err := x.R.Body().Read(buf)
		if n > 0 {
			if _, werr := f.Write(buf[:n]); werr != nil {
				return tempError{werr}
			}
			out.Length += int64(n)
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
