;; W-04: recursion with a thousand live variables a frame
;; outcome: call trap
;; says: call stack exhausted
;; cost: quick

;;@module
(func $deep (param $n i64) (result i64)
;;@times 1000 (local i64)
;;@times 1000 (local.set {n} (i64.add (local.get $n) (i64.const {n})))
(local.set 1 (call $deep (i64.add (local.get 1) (i64.const 1))))
;;@times 1000 (local.set 1 (i64.xor (local.get 1) (local.get {n})))
(local.get 1))

;;@route
(drop (call $deep (i64.const 0)))
