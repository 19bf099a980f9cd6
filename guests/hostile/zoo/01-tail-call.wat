;; W-01: a tail call to itself: a loop without a backward edge
;; outcome: refused
;; says: not valid
;; cost: quick

;;@module
(func $tail (return_call $tail))

;;@route
(call $tail)
