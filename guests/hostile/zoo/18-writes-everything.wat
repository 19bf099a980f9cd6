;; W-18: fills its memory and its table
;; outcome: forward 7
;; cost: quick

;;@module
(table $t 1000 funcref) (elem declare func $forward)

;;@route
(memory.fill (i32.const 8192) (i32.const 0xa5) (i32.const 1040384)) (table.fill $t (i32.const 0) (ref.func $forward) (i32.const 1000))
