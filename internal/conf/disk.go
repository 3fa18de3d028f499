package conf

import (
	"os"
	"slices"
	"strings"
)

// isPattern reports whether nginx takes the name in an include for a pattern.
func isPattern(name string) bool { return strings.ContainsAny(name, "*?[") }

// matchDisk returns the existing names that match pattern, sorted by bytes, as
// glob(3) finds them.
func matchDisk(pattern string) []string {
	found := []string{""}
	for i, part := range strings.Split(pattern, "/") {
		var next []string
		for _, dir := range found {
			if i > 0 {
				dir += "/"
			}
			next = append(next, matchPart(dir, part)...)
		}
		found = next
	}
	if !isPattern(pattern) {
		return found
	}
	found = slices.DeleteFunc(found, func(name string) bool {
		_, err := os.Lstat(name)
		return err != nil
	})
	slices.Sort(found)
	return found
}

// matchPart returns dir joined with each of its entries that match part.
func matchPart(dir, part string) []string {
	if !isPattern(part) {
		return []string{dir + part}
	}
	where := dir
	if where == "" {
		where = "."
	}
	entries, err := os.ReadDir(where)
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, ".") && !strings.HasPrefix(part, ".") {
			continue
		}
		if matches(part, name) {
			names = append(names, dir+name)
		}
	}
	return names
}
