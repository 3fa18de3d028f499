package upgrade

import (
	"strings"
)

// A Command is what an operator may type next.
type Command struct {
	Command string `json:"command"`
	Does    string `json:"does"`
}

// command puts the words of a command together, so that a shell takes them apart again.
func command(words ...string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = shellWord(w)
	}
	return strings.Join(quoted, " ")
}

// shellWord quotes a word, if it needs that.
func shellWord(w string) string {
	special := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("/._-+=:@%,", r)
	}
	if w != "" && !strings.ContainsFunc(w, special) {
		return w
	}
	return "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
}

// at returns our own command for the server with this pid file.
func at(pidFile string, verb ...string) string {
	return command(append(append([]string{"baton"}, verb...), "--pid-file", pidFile)...)
}
