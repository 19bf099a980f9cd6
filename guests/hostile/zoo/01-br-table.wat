;; W-01: a loop that a jump table closes
;; outcome: call timeout
;; says: it ran longer than
;; cost: budget

;;@route
(loop $l (br_table $l $l $l (i32.const 1)))
