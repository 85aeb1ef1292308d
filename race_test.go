//go:build race

package tipt_test

const raceDetector = true
