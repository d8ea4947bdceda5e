package main

import (
	"context"
	"errors"
	"os"

	"github.com/urfave/cli/v2"
)

// commands is the table of commands, in the order in which help lists them.
func commands() []*cli.Command {
	return []*cli.Command{
		keygenCommand(),
		exportCommand(),
		verifyCommand(),
		signCommand(),
		inspectCommand(),
		diffCommand(),
		importCommand(),
		manifestsCommand(),
		checkCommand(),
		serveCommand(),
		convertCommand(),
		versionCommand(),
		helpCommand(),
	}
}

// newApp is the whole command line. Errors come back to run: cli itself
// neither prints them nor exits.
func newApp() *cli.App {
	cli.VersionPrinter = func(c *cli.Context) { _ = printVersion(c) }
	app := &cli.App{
		Name:                      "airlift",
		Usage:                     "carry OpenShift releases and images over an air gap",
		Version:                   version,
		Commands:                  commands(),
		Flags:                     []cli.Flag{cli.HelpFlag},
		Action:                    noCommand,
		ExitErrHandler:            func(*cli.Context, error) {},
		OnUsageError:              badFlag,
		HideHelpCommand:           true, // ours answers an unknown topic with exit code 2
		EnableBashCompletion:      true,
		Suggest:                   true,
		DisableSliceFlagSeparator: true, // a comma is part of a value
	}
	app.CommandNotFound = func(*cli.Context, string) {} // noCommand and helpCommand say it
	for _, command := range app.Commands {
		prepare(command)
	}
	return app
}

// prepare gives a command what all commands have in common.
func prepare(command *cli.Command) {
	command.OnUsageError = badFlag
	command.HideHelpCommand = true // "help" after a command is an argument
	action := command.Action
	command.Action = func(c *cli.Context) error {
		return ofCommand(c.Command.HelpName, action(c))
	}
}

// run does what argv asks for and gives the exit code.
func run(ctx context.Context, app *cli.App, argv []string) int {
	argv, err := arrange(argv, app)
	if err == nil {
		err = app.RunContext(ctx, argv)
	}
	if err == nil {
		return exitComplete
	}
	printError(os.Stderr, err)
	code := exitCode(err)
	var by interruption
	if errors.As(context.Cause(ctx), &by) && (code == exitFailed || errors.Is(err, context.Canceled)) {
		return by.code()
	}
	return code
}

// noCommand is the action of "airlift" alone and of a command that is none.
func noCommand(c *cli.Context) error {
	if c.Args().Present() {
		return unknownCommand(c.App, c.Args().First())
	}
	return cli.ShowAppHelp(c)
}

func helpCommand() *cli.Command {
	return &cli.Command{
		Name:      "help",
		Usage:     "list the commands, or the flags of one",
		ArgsUsage: "[COMMAND]",
		Action: func(c *cli.Context) error {
			switch name := c.Args().First(); {
			case name == "":
				return cli.ShowAppHelp(c)
			case c.App.Command(name) == nil:
				return unknownCommand(c.App, name)
			default:
				return cli.ShowCommandHelp(c, name)
			}
		},
	}
}

func unknownCommand(app *cli.App, name string) error {
	return withHint(usagef("unknown command %s", name),
		cli.SuggestCommand(app.Commands, name)+` "airlift --help" lists the commands`)
}

// badFlag words what cli could not parse: arrange has found what is unknown
// or lacks its value, so this is a value of the wrong kind.
func badFlag(c *cli.Context, err error, _ bool) error {
	return ofCommand(c.Command.HelpName, usagef("%w", err))
}
