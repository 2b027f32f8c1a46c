package age

import (
	"errors"
	"strings"
)

// words splits a command line as POSIX shells do, with ' " and \, and with no
// expansion of any kind. There is at least one word.
func words(line string) ([]string, error) {
	var (
		list   []string
		word   strings.Builder
		inWord bool
		quote  rune // ' or " within quotes
		escape bool // after a backslash
	)
	for _, c := range line {
		switch {
		case escape:
			if quote == '"' && !strings.ContainsRune("\"\\$`", c) {
				word.WriteByte('\\')
			}
			word.WriteRune(c)
			escape = false
		case c == '\\' && quote != '\'':
			inWord, escape = true, true
		case quote != 0:
			if c == quote {
				quote = 0
			} else {
				word.WriteRune(c)
			}
		case c == '\'' || c == '"':
			inWord, quote = true, c
		case strings.ContainsRune(" \t\r\n", c):
			if inWord {
				list = append(list, word.String())
				word.Reset()
				inWord = false
			}
		default:
			word.WriteRune(c)
			inWord = true
		}
	}
	if quote != 0 || escape {
		return nil, errors.New("the command ends within quotes or after a backslash")
	}
	if inWord {
		list = append(list, word.String())
	}
	if len(list) == 0 {
		return nil, errors.New("the command is empty")
	}
	return list, nil
}
