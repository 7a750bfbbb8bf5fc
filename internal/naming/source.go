package naming

import "strings"

// Sources returns the names that a replication rule would put at flat under its
// destination project: the way back from Flatten. pattern is the rule's for
// names; what it leaves open among the path elements that are dropped cannot be
// told, and gives nothing.
func (f Flatten) Sources(pattern, flat string) (names []string) {
	if CheckPattern(pattern) != nil || flat == "" {
		return nil
	}
	for _, plain := range braces(pattern) {
		parts := strings.Split(plain, "/")
		drop := int(f)
		if f < 0 || drop >= len(parts) {
			drop = len(parts) - 1
		}
		if strings.ContainsAny(strings.Join(parts[:drop], "/"), `*?[\`) {
			continue
		}
		name := strings.Join(append(parts[:drop:drop], flat), "/")
		if Match(plain, name) && Match(pattern, name) && f.Apply(name) == flat {
			names = append(names, name)
		}
	}
	return names
}

// maxBraces bounds what braces expands: a rule is written by hand.
const maxBraces = 256

// braces expands the pattern's alternatives: a{b,c} is ab and ac.
func braces(pattern string) []string {
	open := -1
	for i := 0; i < len(pattern); i++ {
		switch pattern[i] {
		case '\\':
			i++
		case '[':
			if end := strings.IndexByte(pattern[i:], ']'); end > 0 {
				i += end
			}
		case '{':
			open = i
		case '}':
			if open < 0 {
				return []string{pattern}
			}
			var all []string
			for _, alternative := range strings.Split(pattern[open+1:i], ",") {
				all = append(all, braces(pattern[:open]+alternative+pattern[i+1:])...)
				if len(all) > maxBraces {
					return all[:maxBraces]
				}
			}
			return all
		}
	}
	return []string{pattern}
}
