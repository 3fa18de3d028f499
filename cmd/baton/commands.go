package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/baton-deploy/baton/internal/proc"
)

// A misuse is an error in how a verb was called: exit status 2.
type misuse struct{ error }

// commands returns the table of our verbs. The root stands for the server: its
// options are nginx's and are parsed by [parseOptions], never by cobra.
func (p *program) commands() *cobra.Command {
	root := &cobra.Command{
		Use:                p.word,
		Short:              "web server that takes nginx's configuration, options and signals",
		DisableFlagParsing: true, // nginx's "-tc file" is not getopt's
		ValidArgsFunction:  completeOptions,
		SilenceErrors:      true,
		SilenceUsage:       true,
		// Never reached: run gives cobra verbs only. With it cobra treats the
		// root as something that can be called, and completes its arguments.
		Run: func(*cobra.Command, []string) {},
	}
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return misuse{err} })
	root.AddCommand(p.initCommand(), p.statusCommand(), p.upgradeCommand(), p.rollbackCommand(), p.commitCommand(),
		p.historyCommand(), p.manCommand())
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		c.DisableFlagsInUseLine = true
		switch c.Name() {
		case "completion":
			c.Use, c.Short = "completion SHELL", "print completions for bash, zsh, fish or powershell"
		case "help":
			c.Short = "tell how a verb is used"
		}
	}
	help := root.HelpFunc()
	root.SetHelpFunc(func(c *cobra.Command, args []string) {
		if c == root {
			fmt.Fprint(p.stdout, p.help())
			return
		}
		help(c, args)
	})
	return root
}

// isVerb reports whether the first argument calls a verb, also one of the
// hidden ones with which a shell asks for completions.
func (p *program) isVerb(arg string) bool {
	if arg == cobra.ShellCompRequestCmd || arg == cobra.ShellCompNoDescRequestCmd {
		return true
	}
	return slices.ContainsFunc(p.commands().Commands(), func(c *cobra.Command) bool { return c.Name() == arg })
}

// hint returns what may be meant by arguments that are no options of nginx's; "" when
// nothing is like them.
func (p *program) hint(args []string) string {
	first := args[0]
	switch {
	case strings.HasPrefix(first, "--"):
		if verb := firstOf(args, p.isVerb); verb != "" {
			return fmt.Sprintf("a verb comes first: \"%s %s …\"", p.word, verb)
		}
		return fmt.Sprintf("\"%s --help\" tells all options and verbs", p.word)
	case strings.HasPrefix(first, "-") || first == "":
		return ""
	}
	// As cobra suggests verbs below one: this many letters are wrong at most, or missing.
	root := p.commands()
	root.SuggestionsMinimumDistance = 2
	if like := root.SuggestionsFor(first); len(like) > 0 {
		return fmt.Sprintf("did you mean \"%s %s\"?", p.word, strings.Join(like, "\" or \""+p.word+" "))
	}
	return fmt.Sprintf("there is no verb %q; \"%s --help\" tells all", first, p.word)
}

func firstOf(args []string, is func(string) bool) string {
	if i := slices.IndexFunc(args, is); i >= 0 {
		return args[i]
	}
	return ""
}

// runVerb runs the verb args[0] and returns the exit status.
func (p *program) runVerb(args []string) int {
	root := p.commands()
	root.SetArgs(args)
	// Whose programs a verb executes is not known yet.
	if err := proc.KeepOwn(); err != nil {
		fmt.Fprintf(p.stderr, "%s: %v\n", p.word, err)
		return 1
	}
	err := root.ExecuteContext(context.Background())
	if err == nil {
		return 0
	}
	status := exitStatus(err)
	if !errors.As(err, &ended{}) {
		fmt.Fprintf(p.stderr, "%s: %s\n", p.word, printable(err.Error()))
	}
	if status == 2 {
		fmt.Fprintf(p.stderr, "%s: hint: \"%s %s --help\" tells how it is used\n", p.word, p.word, args[0])
	}
	return status
}

// exactArgs is cobra.ExactArgs with a [misuse] for its error.
func exactArgs(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) == len(names) {
			return nil
		}
		if len(names) == 0 {
			return misuse{fmt.Errorf("unexpected argument %q", args[0])}
		}
		return misuse{fmt.Errorf("want %s, have %d arguments", strings.Join(names, " "), len(args))}
	}
}

// completeOptions completes nginx's options and the words of -s.
func completeOptions(_ *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	var found []string
	switch lastOf(args) {
	case "-s":
		for _, s := range signals {
			found = append(found, s.name)
		}
		return found, cobra.ShellCompDirectiveNoFileComp
	case "-p":
		return nil, cobra.ShellCompDirectiveFilterDirs
	case "-c", "-e":
		return nil, cobra.ShellCompDirectiveDefault
	case "-g":
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	for _, o := range optionTable() {
		for i := range len(o.letters) {
			if s := "-" + o.letters[i:i+1]; strings.HasPrefix(s, word) {
				found = append(found, s+"\t"+o.help)
			}
		}
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}

func lastOf(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[len(args)-1]
}
