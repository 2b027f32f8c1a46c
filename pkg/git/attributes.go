package git

import (
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/kenvhq/kenv/pkg/config"
)

// Driver is the name of kenv's diff and merge drivers in git's attributes.
const Driver = "kenv"

const attributes = " diff=" + Driver + " merge=" + Driver

// Attributes returns the lines for a .gitattributes beside a config that give the
// files of its rules to kenv's drivers, and the rules that cannot be said there:
// those with a regular expression alone. A rule for any path stands for files by
// their extensions.
//
// The lines may name more files than the rules do. The drivers leave files that are
// not encrypted as they are. Of sets such as [!a] git takes bytes for characters, and
// so knows only those of ASCII.
func Attributes(c *config.Config) (lines []string, byHand []config.Rule) {
	add := func(pattern, attributes string) {
		if line := quotePattern(pattern) + attributes; !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	for _, r := range c.Rules {
		switch {
		case len(r.Path) == 0 && r.PathRegex != "":
			byHand = append(byHand, r)
		case len(r.Path) == 0:
			for _, ext := range extensions {
				add("*"+ext, attributes)
			}
			add(".env.*", attributes)
		}
		for _, glob := range r.Path {
			glob, exclude := strings.CutPrefix(glob, "!")
			switch {
			case !exclude:
				for _, p := range patterns(glob) {
					add(p, attributes)
				}
			case len(c.Rules) == 1: // else another rule may name the file
				for _, p := range patterns(glob) {
					add(p, " !diff !merge")
				}
			}
		}
	}
	return lines, byHand
}

// extensions are those of files with values; what others hold is one text.
var extensions = []string{".yaml", ".yml", ".json", ".env", ".dotenv", ".ini"}

// patterns returns a pattern of a rule as gitattributes have it. There a pattern that
// names a directory says nothing about the files in it.
func patterns(glob string) (list []string) {
	glob, anchored := strings.CutPrefix(glob, "/")
	glob, dirOnly := strings.CutSuffix(glob, "/")
	file, below := glob, "**/"+glob+"/**"
	if anchored || strings.Contains(glob, "/") {
		file, below = "/"+glob, "/"+glob+"/**"
	}
	if !dirOnly {
		list = append(list, file)
	}
	if path.Base(glob) == "**" && !dirOnly || !dirOnly && slices.Contains(extensions, path.Ext(glob)) {
		return list // all below already, or no name for a directory
	}
	return append(list, below)
}

// quotePattern spells a pattern as the first word of a line.
func quotePattern(pattern string) string {
	if strings.ContainsAny(pattern, " \t\r\n\"") || strings.HasPrefix(pattern, "#") {
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\t", `\t`, "\r", `\r`, "\n", `\n`).Replace(pattern) + `"`
	}
	return pattern
}

// ruleNote says what to do about a rule that Attributes cannot say.
func ruleNote(path string, r config.Rule) string {
	return path + ":" + strconv.Itoa(r.Line) + ": git has no path_regex " + strconv.Quote(r.PathRegex) +
		"; add a line for its files to .gitattributes, such as\n  /secrets/*.yaml" + attributes
}
