;; W-03: fills all of its memory, again and again: one fill is not interrupted
;; outcome: call timeout
;; says: it ran longer than
;; cost: budget and one operation
;; memory: 2 MiB

;;@route
(drop (memory.grow (i32.const 16)))
(loop $l (memory.fill (i32.const 0) (i32.const 1) (i32.shl (memory.size) (i32.const 16))) (br $l))
