// Package fault gives a node a clock that is wrong and a disk that is slow, which no
// signal and no network can do to a process. Only a program that is built with the tag
// "fault" has any of it, for the tests in the folder faults. In every other program its
// functions do what their callers would do without them.
//
// What is wrong stands in the folder that the variable TIPT_FAULTS names, in files that
// hold a duration each, and may change at any time: clock is how far the clock is ahead,
// commit is how long a commit takes longer, at most. A file that is not there means 0.
package fault
