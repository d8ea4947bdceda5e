package bundle

// Rounds is how often something is done: the second where the tests run at length.
var Rounds = rounds
