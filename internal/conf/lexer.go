package conf

import "bytes"

// maxWord is the size of nginx's buffer for files: a word, as it is written between
// its quotes, must be shorter.
const maxWord = 4096

// A statementEnd is what ends a statement.
type statementEnd uint8

const (
	endSemicolon  statementEnd = iota // name args ;
	endBlockStart                     // name args {
	endBlock                          // } and no words
	endText                           // the text is over, and no words
)

// A lexer splits a configuration's text into statements by nginx's own rules. They
// are simpler than they look, and not those of a shell: a quote opens a string only
// at the start of a word and must be followed by a space, ";", "{" or ")"; a "}" in
// a word is part of it; "${" does not open a block; "#" opens a comment only where
// a word could begin.
type lexer struct {
	text []byte
	pos  int
	line int // of text[pos]; 0 stays 0: the command line has none
	file string
	step int // what a line feed adds to line
}

func newLexer(file string, text []byte) *lexer {
	if file == CommandLine {
		return &lexer{file: file, text: text}
	}
	return &lexer{file: file, text: text, line: 1, step: 1}
}

// statement returns the words of the next statement and what ended it; lx.line is
// then the line of that end.
func (lx *lexer) statement() ([]string, statementEnd, *Error) {
	var words []string
	for {
		if err := lx.skipSpace(); err != nil {
			return nil, 0, err
		}
		if lx.pos == len(lx.text) {
			if len(words) > 0 {
				return nil, 0, lx.unfinished()
			}
			return nil, endText, nil
		}
		switch ch := lx.text[lx.pos]; ch {
		case ';', '{':
			if len(words) == 0 {
				return nil, 0, lx.unexpected(ch)
			}
			return words, lx.end(ch), nil
		case '}':
			if len(words) > 0 {
				return nil, 0, lx.unexpected(ch)
			}
			lx.pos++
			return nil, endBlock, nil
		}
		word, err := lx.word()
		if err != nil {
			return nil, 0, err
		}
		words = append(words, word)
	}
}

// end steps over ch, a ";" or "{".
func (lx *lexer) end(ch byte) statementEnd {
	lx.pos++
	if ch == '{' {
		return endBlockStart
	}
	return endSemicolon
}

// skipSpace steps over space and comments. A comment has to fit nginx's buffer as a
// word has to.
func (lx *lexer) skipSpace() *Error {
	for ; lx.pos < len(lx.text); lx.pos++ {
		switch ch := lx.text[lx.pos]; {
		case ch == '#':
			start := lx.pos
			n := bytes.IndexByte(lx.text[start:], '\n')
			lx.pos += n
			if n < 0 {
				lx.pos = len(lx.text)
			}
			if lx.overflows(start) {
				return lx.tooLong(start, lx.line, 0)
			}
			if n < 0 {
				return nil
			}
			lx.line += lx.step
		case !isSpace(ch):
			return nil
		case ch == '\n':
			lx.line += lx.step
		}
	}
	return nil
}

// overflows reports whether nginx needs another byte when its buffer is full of what
// began at start. The command line is read from no buffer.
func (lx *lexer) overflows(start int) bool {
	n := lx.pos - start
	return lx.step > 0 && (n > maxWord || n == maxWord && lx.pos < len(lx.text))
}

// word reads the word that starts at lx.pos, which is no space and ends nothing.
func (lx *lexer) word() (string, *Error) {
	start, startLine := lx.pos, lx.line
	quote := lx.text[start]
	if quote == '"' || quote == '\'' {
		lx.pos++
	} else {
		quote = 0
	}
	first := lx.pos
	dollar := false // a "$" is before, and nothing but "{" in between
	for ; lx.pos < len(lx.text); lx.pos++ {
		if lx.overflows(first) {
			return "", lx.tooLong(first, startLine, quote)
		}
		ch := lx.text[lx.pos]
		wasDollar := dollar
		dollar = ch == '$' || ch == '{' && wasDollar
		switch {
		case ch == '\\':
			if lx.pos++; lx.pos < len(lx.text) && lx.text[lx.pos] == '\n' {
				lx.line += lx.step
			}
		case quote != 0 && ch == quote:
			word := unescape(lx.text[first:lx.pos])
			lx.pos++
			if lx.overflows(first) {
				return "", lx.tooLong(first, startLine, 0)
			}
			return word, lx.afterQuote()
		case quote == 0 && (isSpace(ch) || ch == ';' || ch == '{' && !wasDollar):
			return unescape(lx.text[first:lx.pos]), nil
		case ch == '\n':
			lx.line += lx.step
		}
	}
	lx.pos = len(lx.text)
	return "", lx.unfinished()
}

// afterQuote checks what follows a closing quote. A ")" is allowed there and begins
// the next word: nginx wants it for conditions.
func (lx *lexer) afterQuote() *Error {
	if lx.pos == len(lx.text) {
		return lx.unfinished()
	}
	switch ch := lx.text[lx.pos]; {
	case isSpace(ch), ch == ';', ch == '{', ch == ')':
		return nil
	default:
		return lx.unexpected(ch)
	}
}

func isSpace(ch byte) bool { return ch == ' ' || ch == '\t' || ch == '\r' || ch == '\n' }

// unescape resolves the six escapes nginx knows; another backslash stays.
func unescape(raw []byte) string {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw)
	}
	word := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		ch := raw[i]
		if ch == '\\' && i+1 < len(raw) {
			switch raw[i+1] {
			case '"', '\'', '\\':
				i++
				ch = raw[i]
			case 't':
				i++
				ch = '\t'
			case 'r':
				i++
				ch = '\r'
			case 'n':
				i++
				ch = '\n'
			}
		}
		word = append(word, ch)
	}
	return string(word)
}

func (lx *lexer) fault(msg string) *Error {
	return &Error{Level: "emerg", Msg: msg, File: lx.file, Line: lx.line}
}

func (lx *lexer) unexpected(ch byte) *Error {
	if ch == '\n' {
		lx.line += lx.step
	}
	return lx.fault(`unexpected "` + string([]byte{ch}) + `"`)
}

// unfinished is the text ending in the middle of a statement.
func (lx *lexer) unfinished() *Error {
	if lx.file == CommandLine {
		return lx.fault(`unexpected end of parameter, expecting ";"`)
	}
	return lx.fault(`unexpected end of file, expecting ";" or "}"`)
}

func (lx *lexer) tooLong(start, line int, quote byte) *Error {
	lx.line = line
	if quote != 0 {
		return lx.fault(`too long parameter, probably missing terminating "` + string(rune(quote)) + `" character`)
	}
	return lx.fault(`too long parameter "` + string(lx.text[start:start+10]) + `..." started`)
}
