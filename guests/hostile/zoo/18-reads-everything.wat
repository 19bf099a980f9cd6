;; W-18: traps if it finds anything in its memory or its table
;; outcome: forward 7
;; cost: quick

;;@module
(table $t 1000 funcref)

;;@route
(local.set $n (i32.const 8192))
(loop $l
  (if (i64.ne (i64.load (local.get $n)) (i64.const 0)) (then (unreachable)))
  (local.set $n (i32.add (local.get $n) (i32.const 8)))
  (br_if $l (i32.lt_u (local.get $n) (i32.const 1048576))))
(local.set $n (i32.const 0))
(loop $l
  (if (i32.eqz (ref.is_null (table.get $t (local.get $n)))) (then (unreachable)))
  (local.set $n (i32.add (local.get $n) (i32.const 1)))
  (br_if $l (i32.lt_u (local.get $n) (i32.const 1000))))
