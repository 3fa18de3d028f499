package conf

import "bytes"

// Dump returns the configuration as nginx -T prints it after its two lines: every
// file with its name before it, each once, in the order in which they were first
// read. Files that directives only refer to, such as keys, are not part of it.
func (c *Config) Dump() []byte {
	var b bytes.Buffer
	for _, f := range c.Snapshot.files {
		if !f.included {
			continue
		}
		b.WriteString("# configuration file " + f.name + ":\n")
		b.Write(f.data)
		b.WriteByte('\n')
	}
	return b.Bytes()
}
