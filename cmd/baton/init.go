package main

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/prefix"
)

// initCommand is "baton init DIR".
func (p *program) initCommand() *cobra.Command {
	var listen string
	c := &cobra.Command{
		Use:   "init DIR [--listen ADDR]",
		Short: "create a prefix that is ready to run",
		Long: `Create in DIR all that a server needs to run: conf/nginx.conf, conf/mime.types,
conf/fastcgi.conf, conf/fastcgi_params, conf/scgi_params, conf/uwsgi_params,
html/index.html, html/50x.html, logs/, the folders for temporary files, and
sbin/nginx, a copy of this program. What is there already is left as it is, so
it is safe to run it again.`,
		Example: "  " + p.word + " init /srv/web --listen 8080\n  /srv/web/sbin/nginx",
		Args:    exactArgs("DIR"),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
		RunE: func(_ *cobra.Command, args []string) error { return p.initPrefix(args[0], listen) },
	}
	c.Flags().StringVar(&listen, "listen", "80", "what conf/nginx.conf listens on: `ADDR` as the listen directive takes it")
	return c
}

func (p *program) initPrefix(dir, listen string) error {
	if dir == "" {
		return misuse{errors.New("DIR is empty")}
	}
	_, err := conf.ParseListen(&conf.Directive{Name: "listen", Args: []string{listen}, File: "--listen"})
	if err != nil || !isPlain(listen) {
		return misuse{fmt.Errorf("--listen %q is not an address that the listen directive takes", listen)}
	}
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find own executable: %w", err)
	}
	entries, err := prefix.Create(prefix.Options{Dir: dir, Listen: listen, Executable: exe, TempOwner: workerIDs()})
	for _, e := range entries {
		state := "exists "
		if e.Created {
			state = "created"
		}
		fmt.Fprintf(p.stdout, "%s %s/%s\n", state, filepath.Clean(dir), e.Path)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "\nstart it: %s\n", startCommand(dir))
	return nil
}

// startCommand returns what starts the server in the prefix dir: its sbin/nginx, and
// the options without which a build with other paths would use those.
func startCommand(dir string) string {
	words := []string{filepath.Join(dir, "sbin/nginx")}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return words[0] // without a working directory only absolute names work anyway
	}
	built := builtinPaths(filepath.Join(abs, "sbin/nginx"))
	if built.prefix != abs {
		words = append(words, "-p "+dir)
		built.prefix = abs
	}
	for _, o := range []struct{ built, here, option string }{
		{built.conf, "conf/nginx.conf", "-c conf/nginx.conf"},
		{built.errorLog, "logs/error.log", "-e logs/error.log"},
		{built.pid, "logs/nginx.pid", "-g 'pid logs/nginx.pid;'"},
	} {
		if built.full(o.built) != filepath.Join(abs, o.here) {
			words = append(words, o.option)
		}
	}
	return strings.Join(words, " ")
}

// isPlain reports whether s is one word in nginx.conf with no quotes needed.
func isPlain(s string) bool {
	for _, r := range s {
		plain := r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		switch r {
		case '.', ':', '[', ']', '*', '/', '_', '-':
			plain = true
		}
		if !plain {
			return false
		}
	}
	return s != ""
}

// workerIDs returns whom the temporary folders belong to when root creates
// them: the user of the workers when nginx.conf names none. nil: nobody else.
func workerIDs() *[2]int {
	if os.Geteuid() != 0 {
		return nil
	}
	u, err := user.Lookup("nobody")
	if err != nil {
		return nil
	}
	uid, errU := strconv.Atoi(u.Uid)
	gid, errG := strconv.Atoi(u.Gid)
	if errU != nil || errG != nil {
		return nil
	}
	return &[2]int{uid, gid}
}
