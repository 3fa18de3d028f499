package httpd

import "bytes"

// A prefixTree finds the longest of many names that a text begins with, in a time that
// depends on the text and not on how many names there are. It is built by put and then
// only read, by any number of goroutines.
type prefixTree struct {
	root prefixNode
}

// A prefixNode stands for the text on the way to it. Its children begin with different
// bytes.
type prefixNode struct {
	text     string    // what it adds to its parent's text
	loc      *Location // the location that has this name; nil when there is none
	first    []byte    // the first byte of each child's text
	children []*prefixNode
}

// put adds loc under name and reports whether the name was free.
func (t *prefixTree) put(name string, loc *Location) bool {
	n := &t.root
	for {
		shared := sharedPrefix(n.text, name)
		if shared < len(n.text) {
			n.split(shared)
		}
		name = name[shared:]
		if name == "" {
			if n.loc != nil {
				return false
			}
			n.loc = loc
			return true
		}
		next := n.child(name[0])
		if next == nil {
			n.add(&prefixNode{text: name, loc: loc})
			return true
		}
		n = next
	}
}

// find returns the location with the longest name that text begins with, nil when there is
// none, and slashed, the location whose name is text and a slash, nil when there is none.
func (t *prefixTree) find(text []byte) (longest, slashed *Location) {
	n := &t.root
	for {
		if len(text) < len(n.text) {
			if len(text)+1 == len(n.text) && n.text[len(text)] == '/' && n.text[:len(text)] == string(text) {
				slashed = n.loc
			}
			return longest, slashed
		}
		if string(text[:len(n.text)]) != n.text {
			return longest, nil
		}
		text = text[len(n.text):]
		if n.loc != nil {
			longest = n.loc
		}
		first := byte('/')
		if len(text) > 0 {
			first = text[0]
		}
		if n = n.child(first); n == nil {
			return longest, nil
		}
	}
}

func (n *prefixNode) child(first byte) *prefixNode {
	if i := bytes.IndexByte(n.first, first); i >= 0 {
		return n.children[i]
	}
	return nil
}

func (n *prefixNode) add(c *prefixNode) {
	n.first = append(n.first, c.text[0])
	n.children = append(n.children, c)
}

// split makes n stand for the first at bytes of its text only, and a child for the rest.
func (n *prefixNode) split(at int) {
	rest := &prefixNode{text: n.text[at:], loc: n.loc, first: n.first, children: n.children}
	*n = prefixNode{text: n.text[:at]}
	n.add(rest)
}

func sharedPrefix(a, b string) int {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	return i
}
