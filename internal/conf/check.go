package conf

import (
	"errors"
	"strings"
)

const (
	// maxIncludes bounds how deep files include each other. nginx has no bound and
	// ends a loop when it is out of descriptors.
	maxIncludes = 100
	// maxIncluded bounds how many times files are included in all: a few that include
	// each other several times grow exponentially.
	maxIncluded = 50_000
)

// A checker puts included files in place and holds every directive against the
// table, in the order of the text, as nginx does: the first fault wins.
type checker struct {
	table  *Table
	config *Config
	depth  int // of files that are being read
	left   int // how many more files may be included
}

// run fills in c.config.Root.
func (ch *checker) run() error {
	c := ch.config
	root := &blockCheck{checker: ch, context: Main, seen: make(map[string]bool)}
	if text := c.options.Globals; text != "" {
		if err := root.text(CommandLine, []byte(text)); err != nil {
			return err
		}
	}
	if err := root.include(c.File, nil); err != nil {
		return err
	}
	c.Root = &Scope{Context: Main, Block: root.out, index: newIndex(root.out)}
	return nil
}

// A blockCheck is one block being checked; parts of it can come from several files.
type blockCheck struct {
	*checker
	context Context
	free    bool // entries are data
	seen    map[string]bool
	out     []*Directive
}

// text adds the directives of a text to the block.
func (b *blockCheck) text(name string, text []byte) error {
	ds, fault := parseText(name, text)
	if err := b.directives(ds); err != nil {
		return err
	}
	if fault != nil {
		return fault
	}
	return nil
}

// include adds those of a file; by is the directive that names it, nil for none.
func (b *blockCheck) include(name string, by *Directive) error {
	if b.left--; b.left < 0 {
		return Errorf(by, `too many included files, the last is "%s"`, name)
	}
	if b.depth == maxIncludes {
		return Errorf(by, `files include each other more than %d deep, the last is "%s"`, maxIncludes, name)
	}
	text, err := b.config.files.read(name, true)
	if err != nil {
		return faultAt(by, err)
	}
	b.depth++
	defer func() { b.depth-- }()
	return b.text(name, text)
}

// faultAt is why a file that d names was not read.
func faultAt(d *Directive, err error) error {
	if fault, ok := errors.AsType[*fileFault](err); ok {
		return fault.at(d)
	}
	return Errorf(d, "%s", err.Error())
}

func (b *blockCheck) directives(ds []*Directive) error {
	for _, d := range ds {
		add := b.directive
		if b.free {
			add = b.entry
		}
		if err := add(d); err != nil {
			return err
		}
	}
	return nil
}

// entry adds one entry of a block that holds data.
func (b *blockCheck) entry(d *Directive) error {
	switch {
	case d.HasBlock:
		return Errorf(d, `unexpected "{"`)
	case d.Name == "include" && len(d.Args) == 1:
		return b.included(d)
	case d.Name == "include" && b.context == Types:
		return Errorf(d, `invalid number of arguments in "include" directive`)
	}
	b.out = append(b.out, d)
	return nil
}

// included puts the files of an include in its place.
func (b *blockCheck) included(d *Directive) error {
	name := b.config.AbsConf(d.Args[0])
	if !isPattern(name) {
		return b.include(name, d)
	}
	names, err := b.config.files.glob(name)
	if err != nil {
		return faultAt(d, err)
	}
	for _, name := range names {
		if err := b.include(name, d); err != nil {
			return err
		}
	}
	return nil
}

// directive checks one directive and what is in its block, and adds it.
func (b *blockCheck) directive(d *Directive) error {
	spec, ok := b.table.Lookup(d.Name, b.context)
	if !ok {
		return b.misplaced(d)
	}
	if err := checkForm(spec, d); err != nil {
		return err
	}
	if d.Name == "include" {
		return b.included(d)
	}
	if b.seen[d.Name] && !spec.Repeat {
		return Errorf(d, `"%s" directive is duplicate`, d.Name)
	}
	b.seen[d.Name] = true
	if err := checkValue(spec, d); err != nil {
		return err
	}
	if spec.Reads {
		if _, err := b.config.ReadFile(d.Args[0]); err != nil {
			return faultAt(d, err)
		}
	}
	if spec.Block {
		inner := &blockCheck{
			checker: b.checker, context: spec.Inner, free: spec.Free,
			seen: make(map[string]bool),
		}
		if err := inner.directives(d.Block); err != nil {
			return err
		}
		d.Block = inner.out
		if !spec.Free {
			d.index = newIndex(inner.out)
		}
	}
	b.out = append(b.out, d)
	return nil
}

// misplaced words why d may not stand in this block.
func (b *blockCheck) misplaced(d *Directive) error {
	if known, ok := knownDirective(d.Name, b.context); ok {
		return Errorf(d, `directive "%s" is not supported by baton (nginx has it in %s)`, d.Name, known)
	}
	if b.table.Knows(d.Name) || isKnown(d.Name) {
		return Errorf(d, `"%s" directive is not allowed here`, d.Name)
	}
	return Errorf(d, `unknown directive "%s"`, printable(d.Name))
}

// printable is what nginx's messages show of a word: they end at a NUL.
func printable(word string) string {
	word, _, _ = strings.Cut(word, "\x00")
	return word
}

// checkForm checks the end of a directive and the number of its arguments.
func checkForm(spec Spec, d *Directive) error {
	switch n := len(d.Args); {
	case !spec.Block && d.HasBlock:
		return Errorf(d, `directive "%s" is not terminated by ";"`, d.Name)
	case spec.Block && !d.HasBlock:
		return Errorf(d, `directive "%s" has no opening "{"`, d.Name)
	case n < spec.Min, spec.Max != AnyArgs && n > spec.Max:
		return Errorf(d, `invalid number of arguments in "%s" directive`, d.Name)
	}
	return nil
}

// checkValue checks what the spec says about the arguments themselves.
func checkValue(spec Spec, d *Directive) error {
	if spec.Flag {
		if _, err := flagValue(d); err != nil {
			return err
		}
	}
	if spec.Check != nil {
		return spec.Check(d)
	}
	return nil
}
