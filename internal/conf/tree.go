package conf

import (
	"bytes"
	"fmt"
	"io"
	"unicode/utf8"

	crossplane "github.com/nginxinc/nginx-go-crossplane"
)

// maxDepth bounds how deep blocks nest in one file. Nested locations are the only
// ones without a limit of their own, and no one writes ten.
const maxDepth = 200

// parseText reads the text of one file into directives; includes are left as they
// are. When the text is at fault it returns what stands before the fault too:
// nginx obeys line by line, so that a wrong directive there is reported first.
//
// crossplane builds the tree. It does not get the text as it is written, because
// its lexer differs from nginx's: it drops carriage returns, cuts words at "}",
// resolves other escapes, replaces bytes that are not UTF-8, accepts text right
// after a closing quote, and names other lines. So our lexer reads the words by
// nginx's rules, and crossplane gets them in a spelling that both read alike.
func parseText(name string, text []byte) ([]*Directive, *Error) {
	sp := speller{lx: newLexer(name, text)}
	fault := sp.run()
	payload, err := crossplane.Parse(name, &crossplane.ParseOptions{
		SingleFile:         true, // includes are followed where they stand, by us
		StopParsingOnError: true,
		Open: func(string) (io.ReadCloser, error) {
			return io.NopCloser(&sp.out), nil
		},
	})
	if err != nil {
		return nil, &Error{Level: "emerg", Msg: "parse: " + err.Error(), File: name}
	}
	b := builder{file: name, places: sp.places}
	ds := b.block(payload.Config[0].Parsed)
	if len(b.places) != 0 {
		return nil, &Error{Level: "emerg", Msg: fmt.Sprintf("parse: %d statements are missing", len(b.places)), File: name}
	}
	return ds, fault
}

// A placing is where a statement stands, which crossplane does not tell as nginx does.
type placing struct{ line, end int }

// A speller writes the statements of a text in the spelling for crossplane.
type speller struct {
	lx     *lexer
	out    bytes.Buffer
	places []placing // of every statement, in the order of the text
	open   []int     // indexes into places of the blocks that are open
}

// run writes every statement up to the first fault and closes what is open there.
func (sp *speller) run() *Error {
	for {
		words, end, err := sp.lx.statement()
		if err == nil {
			err = sp.check(end)
		}
		if err != nil || end == endText {
			for range sp.open {
				sp.out.WriteString("}\n")
			}
			return err
		}
		sp.write(words, end)
	}
}

// check refuses an end that does not fit the blocks that are open.
func (sp *speller) check(end statementEnd) *Error {
	switch {
	case end == endBlock && len(sp.open) == 0:
		return sp.lx.fault(`unexpected "}"`)
	case end == endText && len(sp.open) > 0:
		return sp.lx.fault(`unexpected end of file, expecting "}"`)
	case end == endBlockStart && sp.lx.file == CommandLine:
		return sp.lx.fault("block directives are not supported in -g option")
	case end == endBlockStart && len(sp.open) == maxDepth:
		return sp.lx.fault(fmt.Sprintf("blocks are nested more than %d deep", maxDepth))
	}
	return nil
}

func (sp *speller) write(words []string, end statementEnd) {
	line := sp.lx.line
	if end == endBlock {
		last := len(sp.open) - 1
		sp.places[sp.open[last]].end = line
		sp.open = sp.open[:last]
		sp.out.WriteString("}\n")
		return
	}
	for _, w := range words {
		spell(&sp.out, w)
		sp.out.WriteByte(' ')
	}
	if end == endBlockStart {
		sp.open = append(sp.open, len(sp.places))
		sp.out.WriteString("{\n")
	} else {
		sp.out.WriteString(";\n")
	}
	sp.places = append(sp.places, placing{line, line})
}

// The spelling of a word is wordMark and then its bytes; a byte that could mean
// something to crossplane's lexer, or is not ASCII, is the rune byteMark + byte, of
// Unicode's private use area. The mark makes an empty word visible, and keeps
// crossplane from treating "if", "include" or "map" in ways of its own.
const (
	wordMark = '\uE100'
	byteMark = '\uE000'
)

func spell(out *bytes.Buffer, word string) {
	out.WriteRune(wordMark)
	for i := range len(word) {
		switch ch := word[i]; {
		case ch <= ' ', ch > '~', ch == '"', ch == '\'', ch == '\\', ch == '#', ch == ';', ch == '{', ch == '}':
			out.WriteRune(byteMark + rune(ch))
		default:
			out.WriteByte(ch)
		}
	}
}

// unspell is the inverse of spell.
func unspell(s string) string {
	word := make([]byte, 0, len(s))
	for _, r := range s[utf8.RuneLen(wordMark):] {
		if r >= byteMark {
			r -= byteMark
		}
		word = append(word, byte(r))
	}
	return string(word)
}

// A builder makes our directives from crossplane's, taking places in order.
type builder struct {
	file   string
	places []placing
}

func (b *builder) block(from crossplane.Directives) []*Directive {
	ds := make([]*Directive, 0, len(from))
	for _, f := range from {
		place := b.places[0]
		b.places = b.places[1:]
		d := &Directive{
			Name: unspell(f.Directive), File: b.file,
			Line: place.line, EndLine: place.end, HasBlock: f.IsBlock(),
		}
		for _, a := range f.Args {
			d.Args = append(d.Args, unspell(a))
		}
		d.Block = b.block(f.Block)
		ds = append(ds, d)
	}
	return ds
}
