;; W-03: copies its memory over itself, one byte on, again and again
;; outcome: call timeout
;; says: it ran longer than
;; cost: budget and one operation
;; memory: 2 MiB

;;@route
(drop (memory.grow (i32.const 16)))
(loop $l
  (memory.copy (i32.const 1) (i32.const 0) (i32.sub (i32.shl (memory.size) (i32.const 16)) (i32.const 1)))
  (br $l))
