package conf

// A Directive is one statement of the configuration, included files already in
// place. It is never changed after [Load] returned it.
type Directive struct {
	Name  string
	Args  []string // quotes and escapes are resolved
	Block []*Directive
	// HasBlock tells "name { }" from "name;": Block is empty for both.
	HasBlock bool
	File     string // as nginx would name it in an error: absolute, or [CommandLine]
	// Line is the line that nginx names in an error about the directive: where its
	// ";" or "{" stands, counted from 1; 0 on the command line.
	Line int
	// EndLine is where the "}" of the block stands; Line when there is no block.
	EndLine int

	index index // of Block
}

// An index holds the directives of a block by name, each list in order, so that a
// look-up costs the same however large the block is. It is nil for a small block, which
// is searched faster than hashed, and for one that did not come from [Load].
type index map[string][]*Directive

// smallBlock is how many directives a block may have without an index.
const smallBlock = 16

func newIndex(block []*Directive) index {
	if len(block) <= smallBlock {
		return nil
	}
	x := make(index)
	for _, d := range block {
		x[d.Name] = append(x[d.Name], d)
	}
	return x
}

// Arg returns argument i, counted from 0, or "" when there are fewer.
func (d *Directive) Arg(i int) string {
	if d == nil || i >= len(d.Args) {
		return ""
	}
	return d.Args[i]
}

// A Scope is one block seen together with the blocks around it: location in
// server in http in main. nginx's rule of inheritance, that a directive which is
// absent here is looked for one level further out, is the lookup along it.
type Scope struct {
	// Context is what kind of block this is.
	Context Context
	// Self is the directive that opened the block; nil for the main block.
	Self *Directive
	// Block is the content.
	Block []*Directive
	// Up is the block around this one; nil for the main block.
	Up *Scope

	index index // of Block
}

// In returns the scope of block d, which must be a direct part of s. A block that
// does not exist, nil, is an empty one.
func (s *Scope) In(c Context, d *Directive) *Scope {
	if d == nil {
		return &Scope{Context: c, Up: s}
	}
	return &Scope{Context: c, Self: d, Block: d.Block, Up: s, index: d.index}
}

// Own returns the directives called name in this block itself, in order. The caller
// must not change the list.
func (s *Scope) Own(name string) []*Directive {
	if s.index != nil {
		return s.index[name]
	}
	var ds []*Directive
	for _, d := range s.Block {
		if d.Name == name {
			ds = append(ds, d)
		}
	}
	return ds
}

// All returns the directives called name from the nearest block that has any,
// this one first, in order; nil when none has.
func (s *Scope) All(name string) []*Directive {
	for ; s != nil; s = s.Up {
		if ds := s.Own(name); ds != nil {
			return ds
		}
	}
	return nil
}

// One returns the last of [Scope.All], or nil.
func (s *Scope) One(name string) *Directive {
	for ; s != nil; s = s.Up {
		if d := s.last(name); d != nil {
			return d
		}
	}
	return nil
}

// last returns the last of [Scope.Own], or nil.
func (s *Scope) last(name string) *Directive {
	block := s.Block
	if s.index != nil {
		block = s.index[name]
	}
	for i := len(block) - 1; i >= 0; i-- {
		if block[i].Name == name {
			return block[i]
		}
	}
	return nil
}
