;; W-04: recursion without an end
;; outcome: call trap
;; says: call stack exhausted
;; cost: quick

;;@module
(func $deep (call $deep) (call $deep))

;;@route
(call $deep)
