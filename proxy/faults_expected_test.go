package proxy_test

// What a client gets of a tag, whatever fails, as the rules have it. This page is written from the
// rules, cell by cell, and not from what the edge does: where the two differ, the edge is wrong.
//
// Who holds what, and who is where, says region.fill: in "nothing held" the local Harbor has a
// multi-dc-* image, and a repl-* one where it is Harbor that fails; the upstream has what is cached.
// "a copy held" is in this edge's store and in the local Harbor, "a peer holds it" in mad1 alone, and
// at the upstream where it is a cache's.

// What is served, and from where.
const (
	harbors   = "Harbor's"
	peers     = "a peer's"
	upstreams = "the upstream's"
	theCopy   = "the copy"
	notThere  = "404"
	tooMany   = "429"
	nobody    = "503"
)

// The rules that decide a cell.
const (
	inOrder = "the sources of the namespace are asked in its order, the local Harbor first: the first yes is served. " +
		"cache-*: Harbor, peers, the upstream. repl-*: Harbor, peers, the cache and the upstream of the rule that matches. multi-dc-*: Harbor, peers"
	passedOver  = "a source that cannot say is passed over: the next of the order is asked, and what it has is newer than a copy"
	peersAnswer = "a no of the local Harbor, where others may have the image, asks the peers: the first yes wins"
	nobodySays  = "nobody who may have it can say, and nothing is held: 503 with Retry-After, never 404"
	stale       = "nobody can say: the copy, without limit"
	tooSlow     = "an answer slower than about a second, with a copy in hand, counts as none: the copy"
	peersCopy   = "a peer answers from its own store while its Harbor cannot say: that is served where nothing is held"
	cachesCopy  = "Harbor's proxy cache serves what it has when its upstream is dead, refuses or errs: a yes of the local Harbor"
	noProject   = "\"project … not found\" is Harbor's no for all of that project; what was known of it goes with the project"
	allSayNo    = "a no that everybody says is 404; no tombstone is needed where the project itself is gone"
	hasTheWord  = "in cache-* the upstream can know, by its own mouth or by Harbor's: its no is final, and a copy is forgotten"
	credentials = "an upstream that refuses after a good token, with nothing cached: 404 \"not there, or needs credentials\""
	limited     = "429 is don't-know, and 429 to the client only if every source said so"
	notAsked    = "an upstream is no source of multi-dc-*"
)

// want is one cell, and the rule that decides it.
type want struct{ outcome, rule string }

// expected is by fault and namespace; the cells are in the order of matrixStates.
var expected = map[string]map[string][3]want{
	"all are well": {
		"cache-*":    {{harbors, inOrder}, {harbors, inOrder}, {harbors, inOrder}},
		"repl-*":     {{harbors, inOrder}, {harbors, inOrder}, {peers, inOrder}},
		"multi-dc-*": {{harbors, inOrder}, {harbors, inOrder}, {peers, peersAnswer}},
	},
	"Harbor refuses connections": harborCannotSay,
	"Harbor 500":                 harborCannotSay,
	"Harbor 502":                 harborCannotSay,
	"Harbor's database is down":  harborCannotSay, // its 401 with an empty challenge says nothing of the image
	"Harbor hangs": {
		"cache-*":    {{peers, passedOver}, {theCopy, tooSlow}, {peers, passedOver}},
		"repl-*":     {{upstreams, passedOver}, {theCopy, tooSlow}, {peers, passedOver}},
		"multi-dc-*": {{nobody, nobodySays}, {theCopy, tooSlow}, {peers, passedOver}},
	},
	"Harbor is slow": { // in sending: its answer begins at once
		"cache-*":    {{harbors, inOrder}, {harbors, inOrder}, {harbors, inOrder}},
		"repl-*":     {{harbors, inOrder}, {harbors, inOrder}, {peers, inOrder}},
		"multi-dc-*": {{harbors, inOrder}, {harbors, inOrder}, {peers, peersAnswer}},
	},
	"Harbor's project is missing": {
		"cache-*":    {{notThere, noProject}, {notThere, noProject}, {notThere, noProject}},
		"repl-*":     {{upstreams, inOrder}, {upstreams, inOrder}, {peers, inOrder}},
		"multi-dc-*": {{notThere, allSayNo}, {notThere, allSayNo}, {peers, peersAnswer}},
	},
	"upstream refuses connections": upstreamErrs,
	"upstream 500":                 upstreamErrs,
	"upstream hangs": { // and Harbor with it, where it is a cache's
		"cache-*":    {{nobody, nobodySays}, {theCopy, tooSlow}, {peers, peersCopy}},
		"repl-*":     {{nobody, nobodySays}, {harbors, inOrder}, {peers, inOrder}},
		"multi-dc-*": withoutUpstream,
	},
	"upstream sends HTML": { // Harbor passes on that it cannot read it
		"cache-*":    {{nobody, nobodySays}, {theCopy, stale}, {peers, peersCopy}},
		"repl-*":     {{nobody, nobodySays}, {harbors, inOrder}, {peers, inOrder}},
		"multi-dc-*": withoutUpstream,
	},
	"upstream 401": upstreamRefuses,
	"upstream 403": upstreamRefuses,
	"upstream 404": {
		"cache-*":    {{notThere, hasTheWord}, {notThere, hasTheWord}, {notThere, hasTheWord}},
		"repl-*":     {{notThere, allSayNo}, {harbors, inOrder}, {peers, inOrder}},
		"multi-dc-*": withoutUpstream,
	},
	"upstream 429":              upstreamLimits,
	"upstream 429, Retry-After": upstreamLimits,
	"upstream 429 to everything": { // Harbor holds it for unwell then, and says 404: no word of the image
		"cache-*":    {{nobody, limited}, {harbors, cachesCopy}, {peers, passedOver}},
		"repl-*":     {{nobody, limited}, {harbors, inOrder}, {peers, inOrder}},
		"multi-dc-*": withoutUpstream,
	},
}

var (
	harborCannotSay = map[string][3]want{
		"cache-*":    {{peers, passedOver}, {peers, passedOver}, {peers, passedOver}}, // their Harbors ask the upstream
		"repl-*":     {{upstreams, passedOver}, {upstreams, passedOver}, {peers, passedOver}},
		"multi-dc-*": {{nobody, nobodySays}, {theCopy, stale}, {peers, passedOver}},
	}
	upstreamErrs = map[string][3]want{
		"cache-*":    {{nobody, nobodySays}, {harbors, cachesCopy}, {peers, passedOver}}, // Harbor's 404 says nothing
		"repl-*":     {{nobody, nobodySays}, {harbors, inOrder}, {peers, inOrder}},
		"multi-dc-*": withoutUpstream,
	}
	upstreamRefuses = map[string][3]want{
		"cache-*":    {{notThere, credentials}, {harbors, cachesCopy}, {peers, passedOver}},
		"repl-*":     {{notThere, credentials}, {harbors, inOrder}, {peers, inOrder}},
		"multi-dc-*": withoutUpstream,
	}
	upstreamLimits = map[string][3]want{ // Harbor's cache passes 429 on for what it does not have
		"cache-*":    {{tooMany, limited}, {harbors, cachesCopy}, {peers, passedOver}},
		"repl-*":     {{nobody, limited}, {harbors, inOrder}, {peers, inOrder}}, // Harbor and the peers said no
		"multi-dc-*": withoutUpstream,
	}
	withoutUpstream = [3]want{{harbors, notAsked}, {harbors, notAsked}, {peers, notAsked}}
)

// codes are the words of the distribution's specification for what is refused.
var codes = map[string][]string{
	notThere: {"MANIFEST_UNKNOWN", "NAME_UNKNOWN"},
	tooMany:  {"TOOMANYREQUESTS"},
}
