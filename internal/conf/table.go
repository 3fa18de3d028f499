package conf

import (
	"fmt"
	"slices"
)

// A Table is every directive that this build of Baton accepts.
type Table struct {
	groups []Group
	byName map[string][]Spec
}

// NewTable collects the directives of all modules. It fails when two of them
// claim the same name in the same context, or when a Spec contradicts itself.
func NewTable(groups ...Group) (*Table, error) {
	t := &Table{groups: groups, byName: make(map[string][]Spec)}
	for _, g := range groups {
		for _, s := range g.Specs {
			if err := s.validate(); err != nil {
				return nil, fmt.Errorf("declare %q of %s: %w", s.Name, g.Module, err)
			}
			for _, other := range t.byName[s.Name] {
				if other.In&s.In != 0 {
					return nil, fmt.Errorf("declare %q of %s: declared twice for %s", s.Name, g.Module, other.In&s.In)
				}
			}
			t.byName[s.Name] = append(t.byName[s.Name], s)
		}
	}
	return t, nil
}

// Lookup returns the spec of the directive called name in context c.
func (t *Table) Lookup(name string, c Context) (Spec, bool) {
	for _, s := range t.byName[name] {
		if s.In&c != 0 {
			return s, true
		}
	}
	return Spec{}, false
}

// Knows reports whether name is a directive in any context.
func (t *Table) Knows(name string) bool { return len(t.byName[name]) > 0 }

// Groups returns what the table was made from, in that order. The caller must not
// change it.
func (t *Table) Groups() []Group { return t.groups }

// Names returns the names of all directives, sorted.
func (t *Table) Names() []string {
	names := make([]string, 0, len(t.byName))
	for name := range t.byName {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (s Spec) validate() error {
	switch {
	case s.Name == "":
		return fmt.Errorf("no name")
	case s.In == 0:
		return fmt.Errorf("no context")
	case s.Max != AnyArgs && s.Max < s.Min:
		return fmt.Errorf("at least %d and at most %d arguments", s.Min, s.Max)
	case s.Flag && (s.Min != 1 || s.Max != 1):
		return fmt.Errorf("a flag has one argument, not %d to %d", s.Min, s.Max)
	case s.Block != (s.Inner != 0):
		return fmt.Errorf("a block and its inner context go together")
	case s.Free && !s.Block:
		return fmt.Errorf("free entries without a block")
	case s.Effect == NoEffect && s.Note == "":
		return fmt.Errorf("without effect and without a note that says why")
	}
	return nil
}
