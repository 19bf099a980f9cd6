;; W-03: fills its table, again and again
;; outcome: call timeout
;; says: it ran longer than
;; cost: budget

;;@module
(table $t 1000 funcref) (elem declare func $forward)

;;@route
(loop $l (table.fill $t (i32.const 0) (ref.func $forward) (i32.const 1000)) (br $l))
